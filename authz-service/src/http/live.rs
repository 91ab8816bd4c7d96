//! A value that can be replaced while others read it, without locks and without copies.

use std::ops::Deref;
use std::sync::OnceLock;

/// A value and those that replaced it. Reading gives the newest; who has read an older one may keep using it, so that
/// one decision sees one policy. Nothing is freed: a value is replaced when the operator says so, which is seldom.
pub struct Live<T> {
    first: Box<Node<T>>,
}

struct Node<T> {
    value: T,
    next: OnceLock<Box<Node<T>>>,
}

impl<T> Live<T> {
    /// Begins with `value`.
    pub fn new(value: T) -> Self {
        Self { first: Box::new(Node { value, next: OnceLock::new() }) }
    }

    /// Replaces the value.
    pub fn set(&self, value: T) {
        let mut new = Box::new(Node { value, next: OnceLock::new() });
        // Somebody else who replaces it at the same time was first: ours comes behind theirs.
        while let Err(back) = self.newest().next.set(new) {
            new = back;
        }
    }

    fn newest(&self) -> &Node<T> {
        let mut node = &*self.first;
        while let Some(next) = node.next.get() {
            node = next;
        }
        node
    }
}

impl<T> Deref for Live<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.newest().value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_the_newest_and_may_keep_what_they_have() {
        let live = Live::new(1);
        let before: &i32 = &live;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| live.set(2));
            }
        });
        assert_eq!((*before, *live), (1, 2));
    }
}
