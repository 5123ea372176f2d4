//! What rules cost a decision, from one rule to ten thousand; beside one addition to a counter, the pseudo-code's linear
//! scan and, with the feature `peers`, an interpreter of expressions.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{Criterion, criterion_group, criterion_main};
use waypost_benches::{NaiveRules, Rows, Rulebook};
use waypost_rules::{CacheMode, CompiledRules, RulesConfig, Surroundings};

const SIZES: [usize; 5] = [1, 10, 100, 1_000, 10_000];

fn rules(criterion: &mut Criterion) {
    let rows = Rows::from_env().counting("rules");
    let counter = AtomicU64::new(0);
    rows.measure(criterion, "floor/fetch_add", 1, || {
        black_box(black_box(&counter).fetch_add(1, Ordering::Relaxed));
    });
    for rules in SIZES {
        let mut rulebook = Rulebook::new(rules);
        agree(rules, &mut rulebook);
        rows.measure(criterion, "evaluate", rules, || _ = black_box(black_box(&mut rulebook).evaluate()));
        let mut naive = NaiveRules::new(rules);
        rows.measure_rare(criterion, "naive/linear_scan", rules, || _ = black_box(naive.evaluate()));
        #[cfg(feature = "peers")]
        {
            let mut expressions = waypost_benches::Expressions::new(rules);
            rows.measure_rare(criterion, "cel/linear_scan", rules, || _ = black_box(expressions.evaluate()));
        }
    }
    for rules in SIZES {
        let mut rulebook = Rulebook::crossed(rules);
        rows.measure(criterion, "evaluate/crossed", rules, || {
            _ = black_box(black_box(&mut rulebook).evaluate());
        });
    }
    for (name, cache) in [("regexes/asked", CacheMode::Never), ("regexes/kept", CacheMode::Always)] {
        for rules in [1, 2, 4, 8, 64] {
            let mut rulebook = Rulebook::of_regexes(rules, cache);
            rows.measure(criterion, name, rules, || _ = black_box(black_box(&mut rulebook).evaluate()));
        }
    }
    for rules in [1_000, 10_000] {
        let set = Rulebook::new(rules).set().clone();
        let compile = || CompiledRules::compile(set.clone(), RulesConfig::default(), Surroundings::UNKNOWN);
        rows.measure_rare(criterion, "compile", rules, || drop(black_box(compile())));
    }
}

/// A benchmark of different answers would compare nothing.
fn agree(rules: usize, rulebook: &mut Rulebook) {
    let places = |priority: Option<usize>| priority.map(|priority| u32::MAX as usize - priority);
    let ours: Vec<_> = rulebook.decisions().into_iter().map(places).collect();
    let mut naive = NaiveRules::new(rules);
    assert_eq!(ours, (0..ours.len()).map(|_| naive.evaluate()).collect::<Vec<_>>());
    #[cfg(feature = "peers")]
    {
        let mut expressions = waypost_benches::Expressions::new(rules);
        assert_eq!(ours, (0..ours.len()).map(|_| expressions.evaluate()).collect::<Vec<_>>());
    }
}

criterion_group!(benches, rules);
criterion_main!(benches);
