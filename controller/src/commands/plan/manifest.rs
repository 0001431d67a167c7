//! Services from files, as the API server would have them (Reads; its dry runs write nothing).

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use evenkeel_core::ids::ServiceKey;
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client, api::PostParams};
use serde_json::Value;

use super::{
    super::cluster::{answer, failed},
    defaults, merge,
    stand_ins::StandIns,
};

/// Who would be written as the manager of the fields, were this no dry run.
const MANAGER: &str = "evenkeel-plan";

/// What the files hold.
#[derive(Debug)]
pub(super) struct Manifests {
    /// The Services, each with its namespace set.
    pub(super) services: BTreeMap<ServiceKey, Value>,
    /// How many objects of other kinds.
    pub(super) others: usize,
    /// Where, for people.
    pub(super) places: String,
}

/// A Service as it is to be.
pub(super) struct Proposed {
    pub(super) service: Service,
    /// Node ports that the API server will give others for, with their fields.
    pub(super) later: Vec<(String, u16)>,
    pub(super) assumed: Option<String>,
}

impl Manifests {
    /// What is to be said of objects of other kinds.
    pub(super) fn passed_over(&self) -> Option<String> {
        (self.others > 0).then(|| {
            format!(
                "objects of other kinds, {} in {}, are there already or follow",
                self.others, self.places
            )
        })
    }
}

/// Reads files and directories of files; `-` is standard input.
pub(super) fn read(
    paths: &[PathBuf],
    recursive: bool,
    named: Option<&str>,
    default: &str,
) -> Result<Manifests> {
    let mut manifests = Manifests {
        services: BTreeMap::new(),
        others: 0,
        places: paths
            .iter()
            .map(|path| place(path))
            .collect::<Vec<_>>()
            .join(", "),
    };
    for path in paths {
        if path.is_dir() {
            for file in files(path, recursive)? {
                let found = Found::InDirectory(&file);
                parse(found, &read_file(&file)?, (named, default), &mut manifests)?;
            }
            continue;
        }
        let text = if path.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("standard input cannot be read; write a manifest to it")?;
            text
        } else {
            read_file(path)?
        };
        parse(Found::Named(path), &text, (named, default), &mut manifests)?;
    }
    Ok(manifests)
}

fn read_file(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| {
        format!(
            "-f: {} cannot be read; name a file with a Service, a directory of such files, or - for standard input",
            path.display()
        )
    })
}

/// The files of a directory that may hold manifests, in the order of their names.
fn files(directory: &Path, recursive: bool) -> Result<Vec<PathBuf>> {
    let listed = std::fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let listed = listed.with_context(|| {
        format!(
            "-f: {} cannot be listed; name files in it",
            directory.display()
        )
    })?;
    let mut paths: Vec<PathBuf> = listed.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            // A link back to a directory above has no end.
            if recursive && !path.is_symlink() {
                files.extend(self::files(&path, recursive)?);
            }
        } else if path
            .extension()
            .is_some_and(|kind| MANIFESTS.iter().any(|known| kind == *known))
        {
            files.push(path);
        }
    }
    Ok(files)
}

/// How files of a directory end that hold manifests, as for kubectl.
const MANIFESTS: [&str; 3] = ["yaml", "yml", "json"];

/// How a file was found.
#[derive(Clone, Copy, Debug)]
enum Found<'a> {
    /// Somebody named it: it is to hold manifests.
    Named(&'a Path),
    /// It is in a directory that somebody named: it may be something else.
    InDirectory(&'a Path),
}

impl Found<'_> {
    fn place(self) -> String {
        let (Self::Named(path) | Self::InDirectory(path)) = self;
        place(path)
    }
}

fn place(path: &Path) -> String {
    if path.as_os_str() == "-" {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Reads the documents of one file. Services without a namespace are in the named one, else in the default one.
fn parse(
    found: Found<'_>,
    text: &str,
    (named, default): (Option<&str>, &str),
    manifests: &mut Manifests,
) -> Result<()> {
    let place = &*found.place();
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
        let why = error.to_string();
        anyhow!(
            "-f: {place} is no YAML ({}); correct it",
            why.lines().next().unwrap_or_default()
        )
    })?;
    let mut waiting: Vec<Value> = documents;
    waiting.reverse();
    while let Some(mut object) = waiting.pop() {
        if object.is_null() {
            continue;
        }
        let kind = object
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or_default();
        match kind {
            "List" | "ServiceList" => {
                if let Some(Value::Array(items)) = object.get_mut("items").map(Value::take) {
                    waiting.extend(items.into_iter().rev().map(|mut item| {
                        // The items of a list of Services carry no kind of their own.
                        if let Some(item) = item.as_object_mut() {
                            item.entry("kind").or_insert_with(|| "Service".into());
                        }
                        item
                    }));
                }
            }
            "Service"
                if object
                    .get("apiVersion")
                    .and_then(Value::as_str)
                    .unwrap_or("v1")
                    == "v1" =>
            {
                let key = key(place, &mut object, named, default)?;
                ensure!(
                    manifests.services.insert(key.clone(), object).is_none(),
                    "-f: {place} names the Service {key} a second time; keep one of them"
                );
            }
            "" if matches!(found, Found::InDirectory(_)) => manifests.others += 1,
            "" => bail!("-f: an object in {place} has no kind; is this a manifest?"),
            _ => manifests.others += 1,
        }
    }
    Ok(())
}

/// The key of a Service of a file, whose namespace is set where it is not.
fn key(place: &str, object: &mut Value, named: Option<&str>, default: &str) -> Result<ServiceKey> {
    let text = |field: &str| {
        let value = object.pointer(&format!("/metadata/{field}"))?.as_str()?;
        Some(value.to_owned())
    };
    let name = text("name").filter(|name| !name.is_empty());
    let name = name
        .with_context(|| format!("-f: a Service in {place} has no metadata.name; give it one"))?;
    let namespace = match (text("namespace"), named) {
        (Some(own), Some(named)) if own != named => bail!(
            "-f: the Service {name} in {place} is in the namespace {own}, and -n says {named}; leave one of them out"
        ),
        (Some(own), _) => own,
        (None, named) => named.unwrap_or(default).to_owned(),
    };
    object["metadata"]["namespace"] = namespace.clone().into();
    Ok(ServiceKey::new(namespace, name))
}

/// An object as the Service that it is to be.
pub(super) fn read_service(key: &ServiceKey, object: Value) -> Result<Service> {
    serde_json::from_value(object)
        .map_err(|error| anyhow!("-f: the Service {key} cannot be read: {error}; correct it"))
}

/// A Service of a file as it would be in the cluster: with what is there already, the API server's defaults, and its
/// admission passed.
pub(super) async fn propose(
    client: &Client,
    key: &ServiceKey,
    file: Value,
    stand_ins: &mut StandIns,
) -> Result<Proposed> {
    let api = Api::<Service>::namespaced(client.clone(), &key.namespace);
    let live = answer(api.get_opt(&key.name)).await;
    let live = live.map_err(|error| failed(&format!("the Service {key}"), &error))?;
    let wanted = match &live {
        Some(live) => merge::applied(&serde_json::to_value(live)?, &file),
        None => file.clone(),
    };
    let wanted = read_service(key, wanted)?;
    let parameters = PostParams {
        dry_run: true,
        field_manager: Some(MANAGER.to_owned()),
    };
    let tried = match &live {
        Some(_) => answer(api.replace(&key.name, &parameters, &wanted)).await,
        None => answer(api.create(&parameters, &wanted)).await,
    };
    match tried {
        Ok(service) => Ok(Proposed {
            later: defaults::not_given(live.as_ref(), &file, &service),
            service,
            assumed: None,
        }),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Proposed {
            service: defaults::fill(key, wanted, stand_ins),
            later: Vec::new(),
            assumed: Some(format!(
                "the API server takes {key} as it is; it was not asked, because that is not allowed ({})",
                status.message.trim_end_matches('.')
            )),
        }),
        Err(error) => Err(failed(
            &format!("the API server refuses the Service {key}"),
            &error,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, named: Option<&str>) -> Result<(Vec<String>, usize), String> {
        let mut manifests = Manifests {
            services: BTreeMap::new(),
            others: 0,
            places: String::new(),
        };
        let found = Found::Named(Path::new("shop.yaml"));
        parse(found, text, (named, "default"), &mut manifests)
            .map_err(|error| format!("{error:#}"))?;
        let keys = manifests.services.keys().map(ToString::to_string).collect();
        Ok((keys, manifests.others))
    }

    #[test]
    fn services_are_found_among_other_objects() {
        let two = "
apiVersion: v1
kind: Service
metadata: {name: a}
---
# nothing
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Service, metadata: {name: b, namespace: shop}}
";
        assert_eq!(
            parsed(two, None),
            Ok((vec!["default/a".into(), "shop/b".into()], 1))
        );
        let json = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}}"#;
        assert_eq!(parsed(json, Some("shop")), Ok((vec!["shop/a".into()], 0)));
        let knative = "{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: a}}";
        assert_eq!(parsed(knative, None), Ok((vec![], 1)));
    }

    #[test]
    fn directories_hold_manifests_and_other_things() {
        let directory = tempfile::tempdir().expect("a directory");
        let service =
            |name: &str| format!("{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}}}");
        std::fs::create_dir(directory.path().join("base")).expect("a directory");
        for (name, text) in [
            ("b.yaml", service("b")),
            ("a.yml", service("a")),
            ("values.yaml", "image: {tag: v1}".to_owned()),
            ("README.md", "# Not YAML: {".to_owned()),
            (
                "base/c.json",
                r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "c"}}"#.to_owned(),
            ),
        ] {
            std::fs::write(directory.path().join(name), text).expect("is written");
        }
        let paths = [directory.path().to_owned()];
        for (recursive, want) in [
            (false, vec!["default/a", "default/b"]),
            (true, vec!["default/a", "default/b", "default/c"]),
        ] {
            let found = read(&paths, recursive, None, "default").expect("is read");
            let keys: Vec<_> = found.services.keys().map(ToString::to_string).collect();
            assert_eq!(
                (keys, found.others),
                (want.iter().map(|key| (*key).to_owned()).collect(), 1)
            );
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        for (text, named, part) in [
            ("{", None, "is no YAML"),
            ("{a: b}", None, "has no kind"),
            ("{kind: Service, metadata: {}}", None, "no metadata.name"),
            (
                "{kind: Service, metadata: {name: a, namespace: x}}",
                Some("y"),
                "leave one of them out",
            ),
            (
                "{kind: Service, metadata: {name: a}}\n---\n{kind: Service, metadata: {name: a}}",
                None,
                "a second time",
            ),
        ] {
            let error = parsed(text, named).expect_err(text);
            assert!(
                error.contains(part) && error.contains("shop.yaml"),
                "{text}: {error}"
            );
        }
    }
}
