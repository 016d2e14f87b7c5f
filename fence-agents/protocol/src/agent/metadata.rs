//! An agent's description: the metadata XML (fence-agents lib/metadata.rng) and the help text.
//!
//! Both are written from the option table, so they cannot disagree with the parser. No device is
//! touched and nothing is read.

use std::fmt::Write as _;

use crate::agent::options::{AgentSpec, Kind, Need, OptionSpec};

/// The whole XML document, ending with a newline.
pub fn xml(spec: &AgentSpec) -> String {
    let mut out = String::from("<?xml version=\"1.0\" ?>\n");
    put(
        &mut out,
        format_args!(
            "<resource-agent name=\"{}\" shortdesc=\"{}\" >\n",
            escape(spec.name),
            escape(spec.short)
        ),
    );
    put(
        &mut out,
        format_args!("<longdesc>{}</longdesc>\n", escape(spec.long)),
    );
    out.push_str("<vendor-url></vendor-url>\n<parameters>\n");
    for option in spec.options {
        parameter(&mut out, option, option.name, Naming::Current);
        if let Some(old) = option.old_name {
            parameter(&mut out, option, old, Naming::Old);
        }
    }
    out.push_str("</parameters>\n<actions>\n");
    for action in spec.actions {
        match action.automatic {
            Some(automatic) => put(
                &mut out,
                format_args!(
                    "\t<action name=\"{}\" automatic=\"{automatic}\"/>\n",
                    escape(action.name)
                ),
            ),
            None => put(
                &mut out,
                format_args!("\t<action name=\"{}\" />\n", escape(action.name)),
            ),
        }
    }
    out.push_str("</actions>\n</resource-agent>\n");
    out
}

/// The help text.
pub fn help(spec: &AgentSpec) -> String {
    let mut out = String::new();
    put(
        &mut out,
        format_args!("Usage:\n\t{} [options]\nOptions:\n", spec.name),
    );
    for option in spec.options {
        put(
            &mut out,
            format_args!("   {:<40} {}", mixed(option), option.summary),
        );
        if let Some(default) = option.default {
            put(&mut out, format_args!(" (default {default})"));
        }
        out.push('\n');
    }
    out.push_str("\nWithout options, parameters are read from stdin as name=value lines.\n");
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Naming {
    Current,
    Old,
}

fn parameter(out: &mut String, option: &OptionSpec, name: &str, naming: Naming) {
    let required = match (naming, option.need) {
        (Naming::Current, Need::Required) => "1",
        (Naming::Current, Need::Optional) | (Naming::Old, _) => "0",
    };
    put(
        out,
        format_args!("\t<parameter name=\"{name}\" unique=\"0\" required=\"{required}\""),
    );
    match (naming, option.old_name) {
        (Naming::Old, _) => out.push_str(" deprecated=\"1\""),
        (Naming::Current, Some(old)) => put(out, format_args!(" obsoletes=\"{old}\"")),
        (Naming::Current, None) => {}
    }
    put(
        out,
        format_args!(">\n\t\t<getopt mixed=\"{}\" />\n", escape(&mixed(option))),
    );
    content(out, option);
    put(
        out,
        format_args!(
            "\t\t<shortdesc lang=\"en\">{}</shortdesc>\n\t</parameter>\n",
            escape(option.summary)
        ),
    );
}

fn content(out: &mut String, option: &OptionSpec) {
    let kind = match option.kind {
        Kind::Text | Kind::Secret => "string",
        Kind::Boolean => "boolean",
        Kind::Integer => "integer",
        Kind::Seconds => "second",
        Kind::Select(_) => "select",
    };
    put(out, format_args!("\t\t<content type=\"{kind}\""));
    if let Some(default) = option.default {
        put(out, format_args!(" default=\"{}\"", escape(default)));
    }
    match option.kind {
        Kind::Select(words) => {
            out.push_str(" >\n");
            for word in words {
                put(
                    out,
                    format_args!("\t\t\t<option value=\"{}\" />\n", escape(word)),
                );
            }
            out.push_str("\t\t</content>\n");
        }
        Kind::Text | Kind::Secret | Kind::Boolean | Kind::Integer | Kind::Seconds => {
            out.push_str(" />\n");
        }
    }
}

fn mixed(option: &OptionSpec) -> String {
    let long = match option.kind {
        Kind::Boolean => option.long(),
        Kind::Text | Kind::Secret | Kind::Integer | Kind::Seconds | Kind::Select(_) => {
            format!("{}=[{}]", option.long(), option.value_word)
        }
    };
    match option.letter {
        Some(letter) => format!("-{letter}, {long}"),
        None => long,
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("writing to a String cannot fail");
}
