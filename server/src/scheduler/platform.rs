//! What actions ask of workers, and what workers offer.
//!
//! An action's property is met by a worker that offers the same name with the same value. A worker may offer several
//! values of one name, and `*` for every value.

use pumphouse_proto::reapi::Platform;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The value by which a worker offers every value of a property.
const ANY: &str = "*";

/// The properties that an action asks for, sorted, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirements(BTreeSet<(String, String)>);

impl Requirements {
    /// These, and those of `defaults` whose names are none of these.
    #[must_use]
    pub(crate) fn with_defaults(mut self, defaults: Option<&Platform>) -> Self {
        let is_unsaid = |name: &str| !self.0.iter().any(|(own, _)| own == name);
        let properties = defaults.iter().flat_map(|defaults| &defaults.properties);
        let unsaid: Vec<_> = properties.filter(|property| is_unsaid(&property.name)).collect();
        self.0.extend(unsaid.into_iter().map(|property| (property.name.clone(), property.value.clone())));
        self
    }
}

impl From<&Platform> for Requirements {
    fn from(platform: &Platform) -> Self {
        Self(platform.properties.iter().map(|property| (property.name.clone(), property.value.clone())).collect())
    }
}

/// The properties that a worker has: each name with its values.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Offer(BTreeMap<String, BTreeSet<String>>);

impl From<&Platform> for Offer {
    fn from(platform: &Platform) -> Self {
        let mut offer = Self::default();
        for property in &platform.properties {
            offer.0.entry(property.name.clone()).or_default().insert(property.value.clone());
        }
        offer
    }
}

impl Offer {
    /// Whether an action that asks for `requirements` can run here.
    pub(crate) fn satisfies(&self, requirements: &Requirements) -> bool {
        requirements.0.iter().all(|(name, value)| self.has(name, value))
    }

    fn has(&self, name: &str, value: &str) -> bool {
        self.0.get(name).is_some_and(|values| values.contains(value) || values.contains(ANY))
    }

    fn unmet<'a>(&'a self, requirements: &'a Requirements) -> impl Iterator<Item = (&'a str, &'a str)> {
        let unmet = requirements.0.iter().filter(|(name, value)| !self.has(name, value));
        unmet.map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Says how the nearest of some workers, given by name and offer, differs from what is asked for.
pub(crate) fn explain<'a>(requirements: &Requirements, workers: impl Iterator<Item = (&'a str, &'a Offer)>) -> String {
    let Some((name, offer)) = workers.min_by_key(|(_, offer)| offer.unmet(requirements).count()) else {
        return "there is no worker".to_owned();
    };
    let mut text = format!("no worker has this action's platform; the nearest, {name},");
    for (position, (property, value)) in offer.unmet(requirements).enumerate() {
        let separator = if position == 0 { " " } else { ", and " };
        let _ = match offer.0.get(property) {
            Some(values) => {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                write!(text, "{separator}has {property}={} where {value:?} is asked for", values.join("|"))
            }
            None => write!(text, "{separator}has no {property} where {value:?} is asked for"),
        };
    }
    text
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use pumphouse_fuzz::{Strategy, bounded, check, sample, vec};
    use pumphouse_proto::reapi::platform::Property;

    fn platform() -> impl Strategy<Value = Platform> {
        let text = || sample::select(&["", "a", "b", "*", "=", "a|b", "\u{0}"][..]);
        let property = (text(), text()).prop_map(|(name, value)| Property { name: name.into(), value: value.into() });
        vec(property, 0..6).prop_map(|properties| Platform { properties })
    }

    #[test]
    fn what_is_unmet_is_said_and_nothing_else() {
        check(&(platform(), platform(), platform()), |(asked, offered, defaults)| {
            let (offer, asked) = (Offer::from(&offered), Requirements::from(&asked));
            assert!(offer.satisfies(&Requirements::from(&offered)), "whoever has it, has it");
            let full = asked.clone().with_defaults(Some(&defaults));
            assert!(offer.satisfies(&asked) || !offer.satisfies(&full), "defaults only ask for more");
            let words = bounded(100, || explain(&full, std::iter::once(("w", &offer))));
            assert_eq!(words.ends_with(','), offer.satisfies(&full), "{words}");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumphouse_proto::reapi::platform::Property;

    fn platform(properties: &[(&str, &str)]) -> Platform {
        let property = |(name, value): &(&str, &str)| Property { name: (*name).into(), value: (*value).into() };
        Platform { properties: properties.iter().map(property).collect() }
    }

    #[test]
    fn properties_are_met_by_name_and_value() {
        let check = |asked: &[(&str, &str)], offered: &[(&str, &str)], expect: bool| {
            let offer = Offer::from(&platform(offered));
            assert_eq!(offer.satisfies(&Requirements::from(&platform(asked))), expect, "{asked:?} of {offered:?}");
        };
        check(&[], &[], true);
        check(&[], &[("os", "linux")], true);
        check(&[("os", "linux")], &[], false);
        check(&[("os", "linux")], &[("os", "linux")], true);
        check(&[("os", "linux")], &[("os", "windows")], false);
        check(&[("cpu", "b")], &[("cpu", "a"), ("cpu", "b")], true);
        check(&[("cpu", "a"), ("cpu", "b")], &[("cpu", "a"), ("cpu", "b")], true);
        check(&[("cpu", "a"), ("cpu", "c")], &[("cpu", "a"), ("cpu", "b")], false);
        check(&[("root", "/a"), ("root", "/b")], &[("root", "*")], true);
    }

    #[test]
    fn defaults_hold_for_what_is_not_said() {
        let defaults = platform(&[("os", "linux"), ("root", "/")]);
        let asked = Requirements::from(&platform(&[("root", "/a"), ("cpu", "x")])).with_defaults(Some(&defaults));
        assert_eq!(asked, Requirements::from(&platform(&[("root", "/a"), ("cpu", "x"), ("os", "linux")])));
    }

    #[test]
    fn the_nearest_worker_is_named() {
        let asked = Requirements::from(&platform(&[("cpu", "arm"), ("os", "linux"), ("pool", "big")]));
        let far = Offer::from(&platform(&[]));
        let near = Offer::from(&platform(&[("os", "linux"), ("cpu", "x86"), ("cpu", "x86-64")]));
        assert_eq!(
            explain(&asked, [("far", &far), ("near", &near)].into_iter()),
            "no worker has this action's platform; the nearest, near, has cpu=x86|x86-64 where \"arm\" is asked for, \
             and has no pool where \"big\" is asked for"
        );
        assert_eq!(explain(&asked, std::iter::empty()), "there is no worker");
    }
}
