//! The same rules as expressions of CEL, interpreted one after the other.

use std::fmt;
use std::sync::Arc;

use cel::{Context, Env, Program, Value};

use crate::rulebook::{Ask, Line, Models, asks, lines};

/// The rules of a [`Rulebook`](crate::Rulebook) as compiled CEL programs.
pub struct Expressions {
    env: Arc<Env>,
    programs: Vec<Program>,
    asks: Vec<Ask>,
    next: usize,
}

impl Expressions {
    /// So many rules.
    ///
    /// # Panics
    ///
    /// Never: the expressions parse.
    pub fn new(rules: usize) -> Self {
        let env = Arc::new(Env::stdlib());
        let compile = |line: &Line| env.compile(&expression(line)).expect("the expression parses");
        let programs = lines(rules).iter().map(compile).collect();
        Self { env, programs, asks: asks(rules), next: 0 }
    }

    /// Asks the rules for the next request; the place of the first that matches. One context serves all of them.
    pub fn evaluate(&mut self) -> Option<usize> {
        self.next = (self.next + 1) % self.asks.len();
        let ask = &self.asks[self.next];
        let mut context = Context::with_env(Arc::clone(&self.env));
        context.add_variable_from_value("tenant", ask.tenant.clone());
        context.add_variable_from_value("model", ask.model.to_owned());
        context.add_variable_from_value("region", ask.region.clone());
        context.add_variable_from_value("priority", ask.priority as i64);
        context.add_variable_from_value("tokens", ask.tokens.cast_signed());
        let matches = |program: &Program| matches!(program.execute(&context), Ok(Value::Bool(true)));
        self.programs.iter().position(matches)
    }
}

fn expression(line: &Line) -> String {
    let models = match line.models {
        Models::Any => None,
        Models::Either(a, b) => Some(format!("(model == \"{a}\" || model == \"{b}\")")),
        Models::Beginning(prefix) => Some(format!("model.startsWith(\"{prefix}\")")),
    };
    let parts = [
        Some(format!("tenant == \"{}\"", line.tenant)),
        models,
        line.region.as_ref().map(|region| format!("region == \"{region}\"")),
        line.high_priority.then(|| "priority >= 2".to_owned()),
        line.min_tokens.map(|min| format!("tokens >= {min}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" && ")
}

impl fmt::Debug for Expressions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expressions").field("programs", &self.programs.len()).finish_non_exhaustive()
    }
}
