//! Expand: replaces references to environment variables in the texts of the configuration.
//!
//! In:  the raw tree of all sources; the environment.
//! Out: the same tree, with `${HOLDFAST_VAR_X}` and `${CENTRIFUGO_VAR_X}` replaced by the values of these variables.
//!
//! Centrifugo expands its own variables in the addresses and header fields of backends; Holdfast expands both in every
//! text, so files of both work. A backend must never receive a literal `${…}`: in its address and header fields, any
//! `${` that remains is an error. Elsewhere it may be intended, for example in a pattern; in a secret it causes a
//! warning.

use super::{
    definition::{Section as _, join, walk},
    options::Options,
    problem::Problems,
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Prefixes of the variables that a configuration may reference.
const PREFIXES: [&str; 2] = ["HOLDFAST_VAR_", "CENTRIFUGO_VAR_"];

/// Variables by name; `None` if the value is not UTF-8.
pub(super) type Variables = BTreeMap<String, Option<String>>;

/// True exactly when a configuration may reference the variable.
pub(super) fn is_variable(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Expands every text of `tree`. Returns the paths of secrets that still contain `${`.
pub(super) fn expand(tree: &mut Value, variables: &Variables, problems: &mut Problems) -> Vec<String> {
    let mut secrets = BTreeSet::new();
    walk(&Options::fields(), "", &mut |path, field| {
        if field.about.secret {
            secrets.insert(path.to_owned());
        }
    });
    let mut left = Vec::new();
    expand_value(tree, "", variables, problems, &mut |path| {
        if secrets.iter().any(|secret| path.starts_with(secret.as_str())) {
            left.push(path.to_owned());
        }
    });
    left
}

fn expand_value(
    value: &mut Value,
    path: &str,
    variables: &Variables,
    problems: &mut Problems,
    leave: &mut dyn FnMut(&str),
) {
    match value {
        Value::String(text) if text.contains("${") => match expanded(text, variables) {
            Err(name) => {
                let found = format!("uses ${{{name}}}, but this environment variable is not set");
                problems.refuse(path, found, "a text that uses only variables that are set");
            }
            Ok(whole) => {
                if whole.contains("${") {
                    if reaches_a_backend(path) {
                        let found = "it contains ${…}, which would reach the backend unchanged";
                        let allowed = "variables whose names begin with HOLDFAST_VAR_ or CENTRIFUGO_VAR_";
                        problems.refuse(path, found, allowed);
                    } else {
                        leave(path);
                    }
                }
                *text = whole;
            }
        },
        Value::Array(list) => {
            for (at, item) in list.iter_mut().enumerate() {
                expand_value(item, &format!("{path}[{at}]"), variables, problems, leave);
            }
        }
        Value::Object(table) => {
            for (key, item) in table {
                expand_value(item, &join(path, key), variables, problems, leave);
            }
        }
        _ => {}
    }
}

/// The text with all references replaced, or the name of a variable that is not set. Values of variables are not
/// expanded again.
fn expanded(text: &str, variables: &Variables) -> Result<String, String> {
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        whole.push_str(before);
        rest = match after.split_once('}') {
            Some((name, behind)) if is_variable(name) => {
                let value = variables.get(name).and_then(Option::as_ref).ok_or_else(|| name.to_owned())?;
                whole.push_str(value);
                behind
            }
            _ => {
                whole.push_str("${");
                after
            }
        };
    }
    whole.push_str(rest);
    Ok(whole)
}

/// True exactly when a text at this path is sent to a backend or is a backend's address.
fn reaches_a_backend(path: &str) -> bool {
    let last = path.rsplit('.').next().unwrap_or_default();
    path.contains(".static_headers") || last == "endpoint" || last.ends_with("_endpoint")
}

#[cfg(test)]
mod tests {
    use crate::config::{
        Config, Flags, Loaded,
        tests::{TempFile, own_warnings, variables},
    };

    const PROXY: &str = "[rpc.without_namespace]\nproxy_enabled = true\n[rpc.proxy]\n";

    fn read(toml: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
        let file = TempFile::new("toml", toml);
        let loaded = Loaded::read(Some(&file.0), variables(environment), &Flags::default(), &[0]);
        loaded.map(|loaded| loaded.config).map_err(|problems| problems.to_string())
    }

    #[test]
    fn variables_stand_in_addresses_fields_lists_and_secrets() {
        let toml = format!(
            "{PROXY}endpoint = 'http://${{HOLDFAST_VAR_HOST}}:${{CENTRIFUGO_VAR_PORT}}/rpc'\n\
             [[rpc.proxy.http.static_headers]]\nkey = 'X-Key'\nvalue = 'Bearer ${{CENTRIFUGO_VAR_KEY}}'\n\
             [client.token]\nhmac_secret_key = '${{HOLDFAST_VAR_SECRET}}'\n\
             [client]\nallowed_origins = ['https://${{HOLDFAST_VAR_HOST}}']\n"
        );
        let environment = [
            ("HOLDFAST_VAR_HOST", "app.test"),
            ("CENTRIFUGO_VAR_PORT", "3000"),
            ("CENTRIFUGO_VAR_KEY", "${HOLDFAST_VAR_HOST}"),
            ("HOLDFAST_VAR_SECRET", "hush"),
        ];
        let found = read(&toml, &environment).unwrap_err();
        assert!(
            found.contains("would reach the backend"),
            "what a variable holds is not expanded again: {found}"
        );

        let environment = [&environment[..2], &environment[3..], &[("CENTRIFUGO_VAR_KEY", "k")]].concat();
        let config = read(&toml, &environment).unwrap();
        let proxy = &config.rpc.proxy;
        assert_eq!(proxy.endpoint.as_ref().unwrap().to_string(), "http://app.test:3000/rpc");
        assert_eq!(proxy.http.static_headers["X-Key"].expose(), "Bearer k");
        assert_eq!(config.client.allowed_origins[0].as_str(), "https://app.test");
        assert!(own_warnings(&config).is_empty() && config.unexpanded_secrets.is_empty());
    }

    #[test]
    fn a_variable_that_is_not_set_is_refused_by_name() {
        let toml = format!("{PROXY}endpoint = 'http://${{HOLDFAST_VAR_NOT_SET}}/rpc'\n");
        let found = read(&toml, &[]).unwrap_err();
        assert!(found.contains("rpc.proxy.endpoint") && found.contains("${HOLDFAST_VAR_NOT_SET}"), "{found}");
    }

    #[test]
    fn nothing_of_that_form_reaches_a_backend() {
        for text in ["${SECRET}", "${HOLDFAST_VAR_X", "a${}b", "${holdfast_var_x}"] {
            let fields = format!(
                "{PROXY}endpoint = 'http://app.test/'\nhttp.static_headers = {{ X-Key = '{text}' }}\n"
            );
            let found = read(&fields, &[("SECRET", "x"), ("HOLDFAST_VAR_X", "x")]).unwrap_err();
            assert!(found.contains("static_headers.X-Key") && found.contains("HOLDFAST_VAR_"), "{found}");
            let address = format!("{PROXY}endpoint = 'http://app.test/{text}'\n");
            assert!(read(&address, &[]).unwrap_err().contains("rpc.proxy.endpoint"));
        }
    }

    #[test]
    fn a_secret_that_still_holds_that_form_is_worth_a_warning() {
        let config = read("[client.token]\nhmac_secret_key = 'a${SECRET}'\n", &[]).unwrap();
        let warnings = own_warnings(&config);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_eq!(warnings[0].key, "client.token.hmac_secret_key");
        assert!(!warnings[0].to_string().contains("a${"), "{}", warnings[0]);
    }

    #[test]
    fn a_list_of_keys_with_values_names_each_key_once() {
        for list in [
            "[{ key = 'A' }]",
            "[{ key = 'A', value = 'b', more = 1 }]",
            "['A']",
            "[{ key = 'A', value = 'b' }, { key = 'A', value = 'c' }]",
        ] {
            let toml = format!("{PROXY}endpoint = 'http://app.test/'\nhttp.static_headers = {list}\n");
            assert!(read(&toml, &[]).unwrap_err().contains("list of {key, value}"), "{list}");
        }
    }
}
