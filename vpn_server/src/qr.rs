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

    /// Reads a drawing as a camera would: each module becomes a square of pixels.
    fn read(drawing: &str) -> String {
        const PIXELS: usize = 4;
        let rows: Vec<Vec<bool>> = drawing
            .replace(COLOURS, "")
            .replace(RESET, "")
            .lines()
            .flat_map(|line| {
                let upper = line.chars().map(|c| matches!(c, '█' | '▀')).collect();
                let lower = line.chars().map(|c| matches!(c, '█' | '▄')).collect();
                [upper, lower]
            })
            .collect();
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(
            rows[0].len() * PIXELS,
            rows.len() * PIXELS,
            |x, y| if rows[y / PIXELS][x / PIXELS] { 255 } else { 0 },
        );
        let grids = image.detect_grids();
        let [grid] = grids.as_slice() else { panic!("one code expected") };
        grid.decode().expect("readable").1
    }

    #[test]
    fn a_reader_finds_the_text_again_byte_for_byte() {
        for text in ["a", "# ünï\n[Interface]\nPrivateKey = x\n", &"0123456789abcdef=\n".repeat(60)] {
            for palette in [Palette::Plain, Palette::Ansi] {
                assert_eq!(read(&draw(text, palette).expect("drawn")), text);
            }
        }
        assert!(draw(&"x".repeat(2954), Palette::Plain).is_err());
    }
}
