//! Plans with a file of facts, held to those that cluster and cloud make. Runs the program.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Fails unless a plan with `facts` says what one without them says. `program` runs evenkeel with arguments and tells its exit code and
/// what it says. A Service that is new gets another UID each time, of which names are made: what it is to have is then not `exact`.
///
/// # Errors
/// When the two differ, or there is none.
pub async fn plans_alike(
    program: impl AsyncFn(&[&str]) -> Result<(Option<i32>, String)>,
    facts: &str,
    asked: &[&str],
    exact: bool,
) -> Result<()> {
    let plan = async |offline: &[&str]| -> Result<(Option<i32>, Value)> {
        let arguments = [&["plan", "-o", "json"], offline, asked].concat();
        let (code, said) = program(&arguments).await?;
        let plan = serde_json::from_str::<Value>(&said);
        let mut groups = plan.with_context(|| format!("{asked:?}: {said}"))?["groups"].take();
        for group in groups.as_array_mut().into_iter().flatten() {
            if !exact {
                group["objects"] = Value::Null;
                *group = masked(group)?;
            }
        }
        Ok((code, groups))
    };
    let online = plan(&[]).await?;
    let offline = plan(&["--offline", "--facts", facts]).await?;
    let groups = online.1.as_array().map_or(0, Vec::len);
    ensure!(groups > 0, "{asked:?}: nothing is planned");
    ensure!(online == offline, "{asked:?}: {online:#?} and {offline:#?}");
    Ok(())
}

/// Without what is made of a UID: words of 32 digits.
fn masked(plan: &Value) -> Result<Value> {
    let text = plan.to_string();
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut rest = &*text;
    let mut masked = String::new();
    while !rest.is_empty() {
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, next) = rest.split_at(end);
        masked.push_str(if word.len() == 32 { "uid" } else { word });
        let between = next.find(is_word).unwrap_or(next.len());
        masked.push_str(&next[..between]);
        rest = &next[between..];
    }
    Ok(serde_json::from_str(&masked)?)
}
