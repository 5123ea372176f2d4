//! What is read can be printed, in either format, and reads back as the same.

use std::hint::black_box;

use waypost_rules::{FormErrors, PrintError, RuleSet, RuleTests};

use crate::format::Format;

/// The most that is told of a document: 100 problems, and how many more there are.
const MOST_LINES: usize = 101;

/// Reads rules; `None` when something is wrong with them.
pub(crate) fn rules(format: Format, text: &str) -> Option<RuleSet> {
    let set = format.read_rules(text).map_err(|wrong| told(&wrong)).ok()?;
    for format in Format::ALL {
        match print_in(format, &set) {
            // Shorthands are printed in full, which may nest one level deeper than may be read.
            Ok(()) | Err(PrintError::TooDeep) => {}
            Err(refused) => panic!("what was read is not printed in {format:?}: {refused}\n{set:#?}"),
        }
    }
    Some(set)
}

/// Reads tests; `None` when something is wrong with them.
pub(crate) fn tests(format: Format, text: &str) -> Option<RuleTests> {
    format.read_tests(text).map_err(|wrong| told(&wrong)).ok()
}

/// Prints rules that code made, if they can be: then they read back as the same.
pub(crate) fn print(set: &RuleSet) {
    for format in Format::ALL {
        if let Err(PrintError::Format { message }) = print_in(format, set) {
            panic!("{format:?} cannot say what the form can: {message}\n{set:#?}");
        }
    }
}

fn print_in(format: Format, set: &RuleSet) -> Result<(), PrintError> {
    let printed = format.print(set)?;
    match format.read_rules(&printed) {
        Ok(again) => assert_eq!(&again, set, "printed in {format:?}:\n{printed}"),
        Err(wrong) => panic!("what is printed in {format:?} is not read: {wrong}\n{printed}\n{set:#?}"),
    }
    Ok(())
}

/// What is wrong is told: each problem in a line without control characters.
fn told(wrong: &FormErrors) {
    let all = wrong.to_string();
    assert!(!wrong.problems().is_empty(), "refused without a reason");
    assert!(all.lines().count() <= MOST_LINES, "{all}");
    for problem in wrong.problems() {
        let line = problem.to_string();
        assert!(!line.chars().any(char::is_control), "{line:?}");
        black_box((problem.path(), problem.entry(), problem.message()));
    }
}
