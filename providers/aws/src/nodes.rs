//! Which security group of an instance is its node group's (Decides).

use std::collections::{BTreeMap, BTreeSet};

use evenkeel_core::ids::Cluster;

use crate::model::{CloudId, Pairs, facts::Instance};

/// The group that admits what reaches an instance, of those of its primary interface: the only one; else the one tagged for
/// the cluster. Where several are tagged, the one that the cluster owns, else the first.
pub(crate) fn group_of(
    cluster: &Cluster,
    groups: &BTreeSet<CloudId>,
    tags: &BTreeMap<CloudId, Pairs>,
) -> Instance {
    let group = |group: &CloudId, note: Option<String>| Instance::Group {
        group: group.clone(),
        note: note.map(Into::into),
    };
    let mut all = groups.iter();
    let (Some(first), None) = (all.next(), all.next()) else {
        return tagged(cluster, groups, tags)
            .map_or(Instance::Ambiguous, |(id, note)| group(id, note));
    };
    group(first, None)
}

fn tagged<'a>(
    cluster: &Cluster,
    groups: &'a BTreeSet<CloudId>,
    tags: &BTreeMap<CloudId, Pairs>,
) -> Option<(&'a CloudId, Option<String>)> {
    let key = format!("kubernetes.io/cluster/{}", cluster.name);
    let value = |id: &CloudId| tags.get(id)?.get(&*key).cloned();
    let tagged: Vec<_> = groups
        .iter()
        .filter_map(|id| Some((id, value(id)?)))
        .collect();
    let owned = tagged.iter().find(|(_, value)| &**value == "owned");
    let (chosen, _) = owned.or(tagged.first())?;
    let note = (tagged.len() > 1).then(|| {
        let others = tagged.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>();
        format!(
            "of {} with the tag {key} {chosen} is taken",
            others.join(", ")
        )
    });
    Some((chosen, note))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use evenkeel_core::ids::Cluster;

    use super::group_of;
    use crate::model::{CloudId, Pairs, facts::Instance};

    #[test]
    fn one_group_or_the_tagged_one() {
        let cluster = Cluster::new("uid", "prod");
        let tag =
            |value: &str| -> Pairs { [("kubernetes.io/cluster/prod".into(), value.into())].into() };
        let tags: BTreeMap<CloudId, Pairs> = [
            ("sg-a".into(), Pairs::new()),
            ("sg-b".into(), tag("shared")),
            ("sg-c".into(), tag("owned")),
            ("sg-d".into(), tag("shared")),
        ]
        .into();
        for (groups, expected, noted) in [
            (vec!["sg-a"], Some("sg-a"), false),
            (vec!["sg-a", "sg-b"], Some("sg-b"), false),
            (vec!["sg-b", "sg-c"], Some("sg-c"), true),
            (vec!["sg-b", "sg-d"], Some("sg-b"), true),
            (vec!["sg-a", "sg-x"], None, false),
            (vec![], None, false),
        ] {
            let ids: BTreeSet<CloudId> = groups.iter().map(|id| CloudId::from(*id)).collect();
            match (group_of(&cluster, &ids, &tags), expected) {
                (Instance::Group { group, note }, Some(expected)) => {
                    assert_eq!(group.as_str(), expected);
                    assert_eq!(note.is_some(), noted, "{groups:?}");
                }
                (Instance::Ambiguous, None) => {}
                (found, _) => panic!("{groups:?}: {found:?}"),
            }
        }
    }
}
