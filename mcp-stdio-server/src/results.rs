//! What a call gives back, as results that hosts of every kind read.

use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Map, Value};

/// A result that says what went wrong, to people in words and to programs in members.
pub fn failure(error: &str, description: &str, mut details: Map<String, Value>) -> CallToolResult {
    details.insert("error".to_owned(), error.into());
    details.insert("error_description".to_owned(), description.into());
    let mut result = CallToolResult::error(vec![ContentBlock::text(description)]);
    result.structured_content = Some(Value::Object(details));
    result
}

/// A result with its data, and the same as text for hosts that show text.
pub fn success(answer: Map<String, Value>) -> CallToolResult {
    let answer = Value::Object(answer);
    let text = text_of(&answer);
    let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
    result.structured_content = Some(answer);
    result
}

/// The text form of an answer: JSON in which strings have lost the characters that steer terminals and hide text.
fn text_of(answer: &Value) -> String {
    if is_plain(answer) {
        return answer.to_string();
    }
    let mut cleaned = answer.clone();
    clean(&mut cleaned);
    cleaned.to_string()
}

/// Control characters except line breaks and tabs, and the marks that reorder or hide text (Unicode TR 36).
fn steers(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

fn is_plain(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.chars().any(steers),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(members) => members.values().all(is_plain),
        _ => true,
    }
}

fn clean(value: &mut Value) {
    match value {
        Value::String(text) => text.retain(|c| !steers(c)),
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Object(members) => members.values_mut().for_each(clean),
        _ => {}
    }
}

/// A caller's text as far as an error may repeat it.
pub fn shown(text: &str) -> String {
    text.chars().filter(|c| !steers(*c) && !c.is_control()).take(64).collect()
}
