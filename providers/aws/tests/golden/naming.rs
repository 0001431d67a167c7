//! 8.2: scheme, name, tags.

use evenkeel_core::{claim::Profile, intent::Scheme};

use super::rig::*;

fn scheme(asking: &Asking) -> Scheme {
    asking.gets().desired.load_balancer.new_scheme()
}

#[test]
fn row_011_the_newer_key_of_the_scheme_wins() {
    let asking = plain()
        .aws("scheme", "internet-facing")
        .aws("internal", "true");
    let got = asking.gets().warning_of("internal");
    assert_eq!(
        got.desired.load_balancer.scheme,
        Some(Scheme::InternetFacing)
    );
}

#[test]
fn row_012_not_internal_is_internet_facing() {
    let asking = plain().aws("internal", "false");
    asking.gets().silently();
    assert_eq!(scheme(&asking), Scheme::InternetFacing);
}

#[test]
fn row_013_internal_as_early_versions_wrote_it() {
    let asking = plain().aws("internal", "0.0.0.0/0");
    asking.gets().warning_of("internal");
    assert_eq!(scheme(&asking), Scheme::Internal);
    plain().aws("internal", "yes").is_refused_for("internal");
}

#[test]
fn the_profile_ccm_takes_any_word_but_false_for_internal() {
    for (value, want) in [
        ("true", Scheme::Internal),
        ("yes", Scheme::Internal),
        ("0.0.0.0/0", Scheme::Internal),
        ("False", Scheme::Internal),
        ("false", Scheme::InternetFacing),
        ("", Scheme::InternetFacing),
    ] {
        let asking = plain().profile(Profile::Ccm).aws("internal", value);
        asking.gets().silently();
        assert_eq!(scheme(&asking), want, "{value:?}");
    }
}

#[test]
fn without_a_word_the_profile_decides() {
    for (profile, want) in [
        (Profile::Neutral, Scheme::InternetFacing),
        (Profile::Ccm, Scheme::InternetFacing),
        (Profile::Lbc, Scheme::Internal),
    ] {
        assert_eq!(scheme(&plain().profile(profile)), want, "{profile:?}");
    }
}

#[test]
fn the_neutral_key_of_the_scheme_wins() {
    let asking = plain()
        .annotated("evenkeel.dev/scheme", "internet-facing")
        .aws("scheme", "internal");
    asking.gets().warning_of("scheme");
    assert_eq!(scheme(&asking), Scheme::InternetFacing);
}

#[test]
fn row_016_a_name_that_aws_keeps_for_itself_is_refused() {
    plain().aws("name", "internal-shop").is_refused_for("name");
}

#[test]
fn row_017_a_name_with_a_dash_at_its_end_is_refused() {
    for name in ["shop-", "-shop", "shop.eu", &"x".repeat(33)] {
        plain().aws("name", name).is_refused_for("name");
    }
    let got = plain().aws("name", "shop").gets().silently();
    assert_eq!(got.desired.load_balancer.name.as_deref(), Some("shop"));
}

#[test]
fn changed_020_a_tag_with_a_comma_is_refused() {
    let tagged = |tags: &str| plain().aws("additional-resource-tags", tags);
    let told = tagged(r"Team=a,Empty=,Note=x\,y").is_refused_for("additional-resource-tags");
    assert!(told.contains("\"Note=x,y\""), "{told}");
    let got = tagged("Team=a,Empty=,Note=x y").gets().silently();
    let tags = pairs(&got.desired.load_balancer.tags);
    assert_eq!(tags, ["Empty=", "Note=x y", "Team=a"]);
}

#[test]
fn row_021_a_tag_without_an_equals_sign_is_refused() {
    plain()
        .aws("additional-resource-tags", "Team")
        .is_refused_for("additional-resource-tags");
}

#[test]
fn row_022_a_tag_that_tells_owners_apart_is_refused() {
    for tag in ["elbv2.k8s.aws/cluster", "evenkeel.dev/cluster", "aws:x"] {
        plain()
            .aws("additional-resource-tags", &format!("{tag}=evil"))
            .is_refused_for("additional-resource-tags");
        plain()
            .annotated("evenkeel.dev/tags", &format!("{tag}=evil"))
            .is_refused_at("metadata.annotations[evenkeel.dev/tags]");
    }
}

#[test]
fn the_neutral_key_of_tags_wins_tag_by_tag() {
    let got = plain()
        .aws("additional-resource-tags", "Team=a,Stage=test")
        .annotated("evenkeel.dev/tags", "Team=b")
        .gets()
        .silently();
    let tags = pairs(&got.desired.load_balancer.tags);
    assert_eq!(tags, ["Stage=test", "Team=b"]);
}

#[test]
fn more_tags_than_aws_has_room_for_are_refused() {
    let tags = |count| {
        (0..count)
            .map(|n| format!("k{n}=v"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let key = "additional-resource-tags";
    plain().aws(key, &tags(34)).gets().silently();
    let told = plain().aws(key, &tags(36)).is_refused_for(key);
    assert!(told.contains("2 too many"), "{told}");
}
