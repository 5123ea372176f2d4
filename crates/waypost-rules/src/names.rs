//! A sorted list of names.

use core::fmt;

use waypost_core::{Capability, FeatureName, OrganizationId, Region, Tag, TenantId, UserId, Zone};

/// Names of which a request should have one: sorted, each once. Displays like `acme, globex or initech`.
///
/// ```
/// use waypost_core::TenantId;
/// use waypost_rules::Names;
///
/// let eu: Names<TenantId> = ["globex", "acme", "acme"].into_iter().map(TenantId::new).collect::<Result<_, _>>()?;
/// assert_eq!(eu.to_string(), "acme or globex");
/// assert!(eu.contains(&TenantId::new("acme")?));
/// # Ok::<(), waypost_core::IdError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names<T>(Box<[T]>);

impl<T: Ord> Names<T> {
    /// Whether a name is there. A binary search.
    pub fn contains(&self, name: &T) -> bool {
        self.0.binary_search(name).is_ok()
    }

    /// The names in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none: then no request has one.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: Ord> FromIterator<T> for Names<T> {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        Self(names.into())
    }
}

macro_rules! from_one {
    ($($name:ty),*) => {
        $(
            impl From<$name> for Names<$name> {
                fn from(name: $name) -> Self {
                    Self([name].into())
                }
            }
        )*
    };
}

from_one!(TenantId, UserId, OrganizationId, Region, Zone, Tag, FeatureName, Capability);

impl<T: fmt::Display> fmt::Display for Names<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        one_of(&self.0, f)
    }
}

/// Writes `a, b or c`.
pub(crate) fn one_of<T: fmt::Display>(items: &[T], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (place, item) in items.iter().enumerate() {
        let before = match place {
            0 => "",
            place if place + 1 == items.len() => " or ",
            _ => ", ",
        };
        write!(f, "{before}{item}")?;
    }
    if items.is_empty() { f.write_str("none") } else { Ok(()) }
}
