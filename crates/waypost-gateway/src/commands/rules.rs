//! `waypost rules`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use waypost_gateway::Config;
use waypost_rules::RuleTests;

use super::{bad_config, fail, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Rules {
    /// Run tests of the configuration's rules.
    Test {
        /// The tests, in TOML or YAML.
        tests: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: super::FileOption,
    },
}

impl Rules {
    /// Does it. 1 is a test that failed.
    pub(crate) fn run(self) -> ExitCode {
        let Self::Test { tests, json, config } = self;
        let config = match Config::load(&config.file) {
            Ok(config) => config,
            Err(errors) => return bad_config(&errors),
        };
        let tests = match read(&tests) {
            Ok(tests) => tests,
            Err(error) => {
                fail(&format!("{}: {error}", tests.display()));
                return ExitCode::from(2);
            }
        };
        let report = config.test_rules(&tests);
        if json {
            say(&serde_json::json!({ "tests": report.rows, "passed": report.passed() }).to_string());
        } else {
            let passed = report.rows.iter().filter(|row| row.passed()).count();
            say(&format!("{report}\n{passed} passed, {} failed", report.rows.len() - passed));
        }
        if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn read(path: &std::path::Path) -> Result<RuleTests, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(path)?;
    let is_yaml = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
    Ok(if is_yaml { RuleTests::from_yaml(&text)? } else { RuleTests::from_toml(&text)? })
}
