use super::*;
use crate::{
    ids::{ServiceKey, ServiceRef},
    ports::Protocol,
};

fn problem(field: &str) -> Problem {
    Problem::new(field, "x", "must be y", "Write y.")
}

#[test]
fn a_problem_names_field_value_rule_and_next_step() {
    assert_eq!(
        problem("spec.a").to_string(),
        "spec.a: \"x\" must be y. Write y."
    );
    let quiet = Problem::new("spec.a", "a\n\"b\"", "must be y", "");
    assert_eq!(quiet.to_string(), r#"spec.a: "a\n\"b\"" must be y"#);
}

#[test]
fn problems_are_kept_once_and_in_order() {
    let mut problems = Problems::none();
    for field in ["b", "a", "b"] {
        problems.push(problem(field));
    }
    problems.extend(["a", "c"].map(problem).into_iter().collect());
    let fields: Vec<_> = problems.iter().map(|problem| &problem.field[..]).collect();
    assert_eq!(fields, ["b", "a", "c"]);
    let want =
        r#"b: "x" must be y. Write y.; a: "x" must be y. Write y.; c: "x" must be y. Write y."#;
    assert_eq!(problems.to_string(), want);
}

#[test]
fn only_some_problems_are_an_error() {
    assert_eq!(Problems::none().check(), Ok(()));
    let some = Problems::from(problem("a"));
    assert_eq!(some.clone().check(), Err(some));
}

#[test]
fn take_keeps_the_value_or_the_problem() {
    let mut problems = Problems::none();
    assert_eq!(problems.take(Ok::<_, Problem>(1)), Some(1));
    assert!(problems.is_empty());
    assert_eq!(problems.take(Err::<i32, _>(problem("a"))), None);
    assert_eq!(problems, Problems::from(problem("a")));
}

#[test]
fn the_first_problem_gives_the_reason() {
    let mut problems = Problems::none();
    assert_eq!(problems.reason(), "InvalidConfiguration");
    problems.push(problem("a").with_reason(reason::QUOTA_EXCEEDED));
    problems.push(problem("b"));
    assert_eq!(problems.reason(), "QuotaExceeded");
}

#[test]
fn a_rejection_for_ports_alone_has_their_problems() {
    let port = PortKey {
        protocol: Protocol::Tcp,
        port: 80,
    };
    let error = PortError {
        service: ServiceRef {
            key: ServiceKey::new("shop", "web"),
            uid: "uid".into(),
        },
        port,
        reason: reason::PORT_CONFLICT,
        message: "an older member has it".into(),
    };
    let told = Problems::none().or_of_ports(std::slice::from_ref(&error));
    assert_eq!(told.reason(), "PortConflict");
    let text = told.to_string();
    assert!(text.starts_with(&format!("spec.ports[{port}]: ")), "{text}");
    assert!(text.ends_with("an older member has it"), "{text}");
    let own = Problems::from(problem("a"));
    assert_eq!(own.clone().or_of_ports(&[error]), own);
}

#[test]
fn a_warning_is_told_once_where_it_came_first() {
    let warning = |message: &str| Warning::new(reason::UNKNOWN_ANNOTATION, message);
    let mut all = vec![warning("b"), warning("a"), warning("b")];
    Warning::once_each(&mut all);
    assert_eq!(all, [warning("b"), warning("a")]);
}
