//! The JSON schemas of the documents that programs read and write (Decides).

use evenkeel_aws::record::AwsCloud;
use evenkeel_azure::record::AzureCloud;
use evenkeel_core::record::{Cloud, Document, schema, schema_of_output};
use evenkeel_local::record::LocalCloud;
use serde_json::{Value, json};

use crate::view::plan::Plan;

/// Each schema with its file.
pub(super) fn all() -> impl Iterator<Item = (&'static str, String)> {
    let plan = titled(
        schema_of_output::<Plan>(),
        "Plan, what `evenkeel plan -o json` prints",
    );
    [
        ("schemas/plan-v1.json", plan),
        ("schemas/aws-facts-v1.json", facts::<AwsCloud>()),
        ("schemas/azure-facts-v1.json", facts::<AzureCloud>()),
        ("schemas/local-facts-v1.json", facts::<LocalCloud>()),
    ]
    .into_iter()
    .map(|(name, schema)| (name, format!("{schema:#}\n")))
}

/// The schema of a provider's facts.
fn facts<C: Cloud>() -> Value {
    let title = format!("{}, what `evenkeel facts` writes", C::KIND);
    let mut schema = titled(schema::<Document<C>>(), &title);
    schema["properties"]["kind"]["const"] = C::KIND.into();
    schema["properties"]["apiVersion"]["const"] = evenkeel_core::record::API_VERSION.into();
    schema
}

fn titled(mut schema: Value, title: &str) -> Value {
    schema["title"] = json!(title);
    schema
}
