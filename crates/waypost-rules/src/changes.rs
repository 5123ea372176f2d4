//! What rules change about a request for the rules after them.

use smallvec::SmallVec;
use waypost_core::{DecisionContext, ModelName, RequestPriority, Tag};

use crate::effects::Effects;

/// What annotating rules changed about a request so far, for the rules after them.
#[derive(Debug, Default)]
pub(crate) struct Changes<'r> {
    priority: Option<RequestPriority>,
    model: Option<&'r ModelName>,
    tags: SmallVec<[&'r [Tag]; 4]>,
}

impl<'r> Changes<'r> {
    pub(crate) fn add(&mut self, effects: &'r Effects) {
        self.priority = effects.priority.or(self.priority);
        self.model = effects.model.as_ref().or(self.model);
        if !effects.tags().is_empty() {
            self.tags.push(effects.tags());
        }
    }

    /// The request as the next rule sees it.
    pub(crate) fn made_to<'a>(&'a self, decision: &DecisionContext<'a>) -> DecisionContext<'a> {
        let mut changed = *decision;
        if let Some(priority) = self.priority {
            changed = changed.with_priority(Some(priority));
        }
        if let Some(model) = self.model {
            changed = changed.with_model(Some(model));
        }
        if self.tags.is_empty() { changed } else { changed.with_added_tags(&self.tags) }
    }
}
