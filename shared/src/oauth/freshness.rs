//! How long an answer is believed, by what its server says (RFC 9111 sections 4.2 and 5.2.2).

use crate::time::Seconds;

/// What `Cache-Control` and `Age` say; `usual` when they say nothing.
pub fn freshness<'a>(
    cache_control: impl Iterator<Item = &'a str> + Clone,
    age: Option<u64>,
    usual: Seconds,
) -> Seconds {
    let directives = || cache_control.clone().flat_map(|value| value.split(',')).map(str::trim);
    let is = |word: &str| directives().any(|one| one.eq_ignore_ascii_case(word));
    if is("no-store") || is("no-cache") {
        return Seconds(0);
    }
    let max_age = directives().find_map(|one| {
        let (name, value) = one.split_once('=')?;
        let known = name.trim().eq_ignore_ascii_case("max-age");
        known.then(|| value.trim().trim_matches('"').parse::<u64>().unwrap_or(0))
    });
    Seconds(max_age.map_or(usual.0, |seconds| seconds.saturating_sub(age.unwrap_or(0))))
}
