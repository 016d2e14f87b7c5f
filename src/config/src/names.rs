//! What a name may look like, and which known word an unknown one was meant to be.
//!
//! Does not know which names exist.

/// Why a text is no name, or nothing. Names are 1 to 63 of `[a-z0-9.-]`, with a letter or digit at both
/// ends, so that they can stand in a certificate, a path and a command line unquoted.
pub(crate) fn fault_in_name(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some("it is empty".to_owned());
    }
    if text.len() > 63 {
        return Some(format!("it has {} characters", text.chars().count()));
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if let Some(bad) = text
        .chars()
        .find(|c| !(plain(*c) || *c == '-' || *c == '.'))
    {
        return Some(format!("it has the character {bad:?}"));
    }
    let ends = [text.chars().next(), text.chars().next_back()];
    if ends.into_iter().flatten().any(|c| !plain(c)) {
        return Some("it begins or ends with a dot or dash".to_owned());
    }
    None
}

/// The rule for names, for people.
pub(crate) const NAME_RULE: &str =
    "use 1 to 63 of a-z, 0-9, dot and dash, beginning and ending with a letter or digit";

/// The known word that is nearest to `text`, if near enough to be a slip.
pub(crate) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(text);
    known
        .into_iter()
        .map(|word| (distance(&folded, &fold(word)), word))
        .filter(|(steps, word)| *steps <= (word.chars().count() / 3).max(1))
        .min()
        .map(|(_, word)| word)
}

/// Case and separators are the usual slips: `secret_files` for `secretFiles`.
fn fold(text: &str) -> String {
    text.chars()
        .filter(|c| *c != '_' && *c != '-')
        .flat_map(char::to_lowercase)
        .collect()
}

/// Edits that turn one text into the other; two neighbours swapped count as one
/// (Damerau-Levenshtein, optimal string alignment).
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().take(64).collect();
    let to: Vec<char> = to.chars().take(64).collect();
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=from.len() {
        for j in 1..=to.len() {
            let swap_cost = usize::from(from[i - 1] != to[j - 1]);
            let mut best = (rows[i - 1][j] + 1)
                .min(rows[i][j - 1] + 1)
                .min(rows[i - 1][j - 1] + swap_cost);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_word_that_was_meant() {
        let known = ["address", "interface", "isolation", "secretFiles"];
        let rows = [
            ("adress", Some("address")),
            ("interfcae", Some("interface")),
            ("secret_files", Some("secretFiles")),
            ("Isolation", Some("isolation")),
            ("colour", None),
        ];
        for (typed, meant) in rows {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
    }

    #[test]
    fn a_name_that_would_need_quoting_is_refused() {
        for good in ["n1", "node-a.rack2", "0"] {
            assert_eq!(fault_in_name(good), None, "{good}");
        }
        for bad in ["", "N1", "a b", "-a", "a.", "a/b", "ä", &"x".repeat(64)] {
            assert!(fault_in_name(bad).is_some(), "{bad}");
        }
    }
}
