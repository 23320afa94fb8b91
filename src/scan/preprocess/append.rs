//! A list that only grows, and that many threads read without a lock.

use parking_lot::Mutex;
use std::sync::OnceLock;

const FIRST_CHUNK: usize = 1024;
const CHUNKS: usize = 22;

/// Items by a number that is given once. An item never moves and is never dropped before the list.
#[derive(Debug)]
pub(crate) struct AppendList<T> {
    chunks: [OnceLock<Box<[OnceLock<T>]>>; CHUNKS],
    length: Mutex<usize>,
}

impl<T> Default for AppendList<T> {
    fn default() -> Self {
        Self { chunks: [const { OnceLock::new() }; CHUNKS], length: Mutex::new(0) }
    }
}

impl<T> AppendList<T> {
    /// Adds the item that `make` makes of its number.
    pub(crate) fn push_with(&self, make: impl FnOnce(u32) -> T) -> u32 {
        let mut length = self.length.lock();
        let index = *length;
        let (chunk, offset, size) = place(index);
        let slots = self.chunks[chunk].get_or_init(|| (0..size).map(|_| OnceLock::new()).collect());
        let is_fresh = slots[offset].set(make(index as u32)).is_ok();
        debug_assert!(is_fresh, "each slot is filled once, under the lock");
        *length += 1;
        index as u32
    }

    /// The item numbered `index`.
    pub(crate) fn get(&self, index: u32) -> &T {
        self.find(index).expect("a number is given after its item is in place")
    }

    /// The item numbered `index`; the list grows up to it by items of `make`.
    pub(crate) fn get_or_grow(&self, index: u32, make: impl Fn() -> T) -> &T {
        loop {
            if let Some(item) = self.find(index) {
                return item;
            }
            self.push_with(|_| make());
        }
    }

    fn find(&self, index: u32) -> Option<&T> {
        let (chunk, offset, _) = place(index as usize);
        self.chunks[chunk].get().and_then(|slots| slots[offset].get())
    }

    /// Every item whose number is given.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let length = *self.length.lock();
        (0..length as u32).map(|index| self.get(index))
    }
}

/// The chunk, the place in it and its size. Chunk n holds `FIRST_CHUNK << n` items.
const fn place(index: usize) -> (usize, usize, usize) {
    let scaled = index / FIRST_CHUNK + 1;
    let chunk = (usize::BITS - 1 - scaled.leading_zeros()) as usize;
    let start = FIRST_CHUNK * ((1 << chunk) - 1);
    (chunk, index - start, FIRST_CHUNK << chunk)
}

#[cfg(test)]
mod tests {
    use super::AppendList;

    #[test]
    fn keeps_every_item_at_its_number() {
        let list = AppendList::default();
        for number in 0..10_000_u32 {
            assert_eq!(list.push_with(|index| index * 2), number);
        }
        assert!((0..10_000).all(|number| *list.get(number) == number * 2));
    }

    #[test]
    fn grows_up_to_the_item_that_is_asked_for() {
        let list = AppendList::default();
        list.push_with(|_| 1);
        assert_eq!(*list.get_or_grow(0, || 2), 1);
        assert_eq!(*list.get_or_grow(3_000, || 2), 2);
        assert_eq!(list.iter().count(), 3_001);
    }
}
