//! Damage to a seed: cuts, flips, insertions, repetitions, mixtures. The same seed is always damaged in the same way.

/// What parsers trip over.
const TRAPS: [&[u8]; 24] = [
    b"\0",
    b"\xff",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"<",
    b">",
    b"=",
    b"\n",
    b"\r\n",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"{}",
    b"\xe2\x80\xae",
];

/// `count` damaged copies of `seed`, each with what was done to it.
pub fn mutations<'a>(
    name: &str,
    seed: &'a [u8],
    neighbour: &'a [u8],
    count: usize,
) -> impl Iterator<Item = (String, Vec<u8>)> + 'a {
    let cuts = seed.len().min(count / 3);
    let cut = move |index: usize| {
        let at = if cuts == seed.len() { index } else { index * seed.len() / cuts };
        (format!("cut at {at}"), seed[..at].to_vec())
    };
    let mut dice = Dice::of(name);
    let damage = move |index: usize| {
        let mut bytes = seed.to_vec();
        let done: Vec<_> = (0..=dice.below(3)).map(|_| damaged(&mut bytes, neighbour, &mut dice)).collect();
        (format!("damage {index}: {}", done.join(", then ")), bytes)
    };
    (0..cuts).map(cut).chain((0..count - cuts).map(damage))
}

fn damaged(bytes: &mut Vec<u8>, neighbour: &[u8], dice: &mut Dice) -> String {
    let at = dice.below(bytes.len() + 1);
    match dice.below(7) {
        0 if at < bytes.len() => {
            let bit = dice.below(8);
            bytes[at] ^= 1 << bit;
            format!("bit {bit} of byte {at} flipped")
        }
        1 if at < bytes.len() => {
            let to = dice.byte();
            bytes[at] = to;
            format!("byte {at} set to {to:#04x}")
        }
        2 => {
            let end = (at + 1 + dice.below(16)).min(bytes.len());
            bytes.drain(at.min(end)..end);
            format!("{at}..{end} taken out")
        }
        3 => {
            let end = (at + 1 + dice.below(32)).min(bytes.len());
            let again = bytes[at.min(end)..end].to_vec();
            bytes.splice(end..end, again);
            format!("{at}..{end} repeated")
        }
        4 => {
            let from = dice.below(neighbour.len() + 1);
            bytes.truncate(at);
            bytes.extend_from_slice(&neighbour[from..]);
            format!("from {at} on its neighbour from {from} on")
        }
        _ => {
            let trap = TRAPS[dice.below(TRAPS.len())];
            bytes.splice(at..at, trap.iter().copied());
            format!("{} put in at {at}", trap.escape_ascii())
        }
    }
}

/// `SplitMix64` (Steele, Lea, Flood 2014), begun with a text.
struct Dice(u64);

impl Dice {
    fn of(name: &str) -> Self {
        let mixed = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        Self(name.bytes().fold(0xCBF2_9CE4_8422_2325, mixed))
    }

    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.word() % u64::try_from(limit).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.word().to_le_bytes()[0]
    }
}
