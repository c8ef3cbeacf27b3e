//! A text as a QR code in a terminal.

use anyhow::Context as _;
use fast_qr::{ECL, QRBuilder};
use vpn_core::control::Palette;
use zeroize::Zeroizing;

/// Light modules around the code, as ISO/IEC 18004 asks for.
const QUIET_ZONE: usize = 4;
/// White on black by the numbers of the 256 colours, which themes of terminals leave as they are.
const COLOURS: &str = "\x1b[38;5;231;48;5;16m";
const RESET: &str = "\x1b[0m";

/// Draws `text` with two modules a character, upper and lower. Light modules are the foreground, so that without
/// colours ([`Palette::Plain`]) it is right on a dark terminal; most readers take the inverse as well.
///
/// # Errors
/// When the text is longer than a QR code can be (2953 bytes).
pub(crate) fn draw(text: &str, palette: Palette) -> anyhow::Result<Zeroizing<String>> {
    // The lowest redundancy: a screen is not scratched, and a client's file has to fit into 80 columns.
    let code = QRBuilder::new(text).ecl(ECL::L).build().ok().context("this is too long for a QR code")?;
    let side = code.size + 2 * QUIET_ZONE;
    let is_light = |row: usize, column: usize| {
        let inside = |at: usize| at.checked_sub(QUIET_ZONE).filter(|at| *at < code.size);
        match inside(row).zip(inside(column)) {
            Some((row, column)) => !code[row][column].value(),
            None => true,
        }
    };
    let (before, after) = match palette {
        Palette::Plain => ("", ""),
        Palette::Ansi => (COLOURS, RESET),
    };
    // A character takes up to three bytes.
    let line_size = 3 * side + before.len() + after.len() + 1;
    let mut drawing = Zeroizing::new(String::with_capacity(line_size * side.div_ceil(2)));
    for row in (0..side).step_by(2) {
        drawing.push_str(before);
        drawing.extend((0..side).map(|column| {
            // The side is odd: below the last row there is nothing, which is no module at all.
            match (is_light(row, column), row + 1 < side && is_light(row + 1, column)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            }
        }));
        drawing.push_str(after);
        drawing.push('\n');
    }
    Ok(drawing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_has_its_quiet_zone_and_a_text_that_is_too_long_none() {
        let drawing = draw("a", Palette::Plain).expect("drawn");
        let lines: Vec<&str> = drawing.lines().collect();
        // Version 1: 21 modules.
        assert!(lines.iter().all(|line| line.chars().count() == 29), "{}", *drawing);
        let light = "█".repeat(29);
        assert_eq!((lines.len(), lines[0], lines[1]), (15, light.as_str(), light.as_str()));
        assert!(draw(&"x".repeat(2954), Palette::Plain).is_err());
    }
}
