//! Which parts of a text are news, beside another text.
//!
//! By words, since people read words; texts too long for that are compared by what they
//! begin and end with. Nothing is left out: the parts make up the text again.

/// A part of a text, and whether the other text lacks it.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub text: String,
    pub news: bool,
}

/// Words that are compared each with each at most.
const PAIRS_MAX: usize = 250_000;

pub fn parts(before: &str, after: &str) -> Vec<Part> {
    let (old, new) = (words(before), words(after));
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - start;
    let end = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let (old, middle) = (&old[start..old.len() - end], &new[start..new.len() - end]);
    let mut known = vec![true; new.len()];
    known[start..new.len() - end].fill(false);
    if old.len() * middle.len() <= PAIRS_MAX {
        common(old, middle).into_iter().for_each(|at| known[start + at] = true);
    }
    // Two new words are one piece of news, with the space between them.
    for at in 1..new.len().saturating_sub(1) {
        known[at] &= known[at - 1] || known[at + 1] || !new[at].trim().is_empty();
    }
    let mut out: Vec<Part> = Vec::new();
    for (word, known) in new.iter().zip(known) {
        match out.last_mut() {
            Some(part) if part.news != known => part.text.push_str(word),
            _ => out.push(Part { text: (*word).to_owned(), news: !known }),
        }
    }
    out
}

/// Runs of letters and digits, and every other character alone.
fn words(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut start = 0;
    let mut in_word = false;
    for (at, mark) in text.char_indices() {
        let is_word = mark.is_alphanumeric();
        if at > start && !(in_word && is_word) {
            out.push(&text[start..at]);
            start = at;
        }
        in_word = is_word;
    }
    if start < text.len() {
        out.push(&text[start..]);
    }
    out
}

/// Places in `new` of a longest common subsequence.
fn common(old: &[&str], new: &[&str]) -> Vec<usize> {
    let width = new.len() + 1;
    let mut lengths = vec![0_u32; (old.len() + 1) * width];
    for a in (0..old.len()).rev() {
        for b in (0..new.len()).rev() {
            lengths[a * width + b] = match old[a] == new[b] {
                true => lengths[(a + 1) * width + b + 1] + 1,
                false => lengths[(a + 1) * width + b].max(lengths[a * width + b + 1]),
            };
        }
    }
    let (mut a, mut b) = (0, 0);
    let mut out = Vec::new();
    while a < old.len() && b < new.len() {
        if old[a] == new[b] {
            out.push(b);
            a += 1;
            b += 1;
        } else if lengths[(a + 1) * width + b] >= lengths[a * width + b + 1] {
            a += 1;
        } else {
            b += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn the_news_of_a_text_are_its_words_that_the_other_lacks() {
        let shown = |before, after| {
            let parts = parts(before, after);
            parts.iter().map(|part| if part.news { format!("«{}»", part.text) } else { part.text.clone() }).collect()
        };
        for (before, after, marked) in [
            ("Buy milk", "Buy bread", "Buy «bread»"),
            ("Buy milk", "Buy milk today", "Buy milk« today»"),
            ("Buy oat milk", "Buy milk", "Buy milk"),
            ("a b c", "x a c y", "«x a» c« y»"),
            ("", "new", "«new»"),
            ("same", "same", "same"),
            ("größer", "größte", "«größte»"),
            ("", "", ""),
        ] {
            let text: String = shown(before, after);
            assert_eq!(text, marked, "{before} {after}");
        }
        let long = "word ".repeat(2_000);
        let text: String = shown(&long, &format!("{long}end"));
        assert!(text.ends_with("«end»"), "what is long is compared by its ends");
    }
}
