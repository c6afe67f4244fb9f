//! One walk over an event: the values at the paths that patterns name, and which array elements they stand in.
//!
//! Paths are field names joined by dots, so that `a.b` and `a: {b: …}` are one. Arrays have no part in a path: their
//! elements stand at the path of the array. Subtrees that no pattern names are not entered.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use serde_json::Value;
use smallvec::SmallVec;

use crate::event::{Json, View};

/// A place in the tree of named paths; 0 is its root.
pub type PathId = u32;

/// Membership in no array.
const NOWHERE: u32 = u32::MAX;

/// Values found that are kept on the stack, and looked through one by one: as quick as halving for so few.
const FEW: usize = 16;

/// The paths that patterns name, as a tree.
#[derive(Debug)]
pub struct Paths {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, PathId, BuildHasherDefault<NameHasher>>,
    parent: PathId,
    named: bool,
}

impl Default for Paths {
    fn default() -> Self {
        Self { nodes: vec![Node::default()] }
    }
}

impl Paths {
    /// Adds a path; its id stays.
    pub fn add(&mut self, path: &str) -> PathId {
        let mut at = 0;
        for name in path.split('.') {
            at = match self.child(at, name) {
                Some(child) => child,
                None => {
                    let child = PathId::try_from(self.nodes.len()).unwrap_or(PathId::MAX);
                    self.nodes.push(Node { parent: at, ..Node::default() });
                    self.nodes[at as usize].children.insert(name.into(), child);
                    child
                }
            };
        }
        self.nodes[at as usize].named = true;
        at
    }

    /// How many nodes there are: ids are below it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether no path was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }

    /// Whether `path` is `above` or lies below it.
    fn is_below(&self, path: PathId, above: PathId) -> bool {
        let mut at = path;
        while at != above {
            if at == 0 {
                return false;
            }
            at = self.nodes[at as usize].parent;
        }
        true
    }

    fn child(&self, at: PathId, name: &str) -> Option<PathId> {
        self.nodes[at as usize].children.get(name).copied()
    }

    fn descend(&self, at: PathId, key: &str) -> Option<PathId> {
        if key.as_bytes().contains(&b'.') {
            return key.split('.').try_fold(at, |at, name| self.child(at, name));
        }
        self.child(at, key)
    }
}

/// A value at a named path.
#[derive(Debug)]
pub struct Found<'v, J = Value> {
    /// Where it stands.
    pub path: PathId,
    /// The value: a scalar.
    pub value: &'v J,
    /// The innermost array element it stands in.
    element: u32,
    /// How many elements it stands in, one inside the other.
    depth: u32,
}

impl<J> Clone for Found<'_, J> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<J> Copy for Found<'_, J> {}

/// An element of an array that holds objects or arrays.
#[derive(Clone, Copy, Debug)]
struct Element {
    array: u32,
    index: u32,
    /// Where the array stands.
    path: PathId,
    /// The element around it.
    outer: u32,
    depth: u32,
}

/// Which element of which array: what values of one match must agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fixed {
    array: u32,
    index: u32,
    path: PathId,
}

/// What a walk found.
#[derive(Debug)]
pub struct Walked<'v, J = Value> {
    found: SmallVec<[Found<'v, J>; FEW]>,
    elements: Vec<Element>,
    arrays: u32,
    sorted: bool,
}

impl<'v, J: Json> Walked<'v, J> {
    /// Walks over an event's data.
    #[must_use]
    pub fn over(data: &'v J, paths: &Paths) -> Self {
        let mut walked = Self { found: SmallVec::new(), elements: Vec::new(), arrays: 0, sorted: false };
        walked.object(data, 0, NOWHERE, paths);
        walked
    }

    /// Everything found, in the event's order until [`Walked::sort`].
    #[must_use]
    pub fn found(&self) -> &[Found<'v, J>] {
        &self.found
    }

    /// Groups by path and depth, so that [`Walked::at`] answers. Within a group the event's order stays.
    pub fn sort(&mut self) {
        if !self.sorted {
            // Stable, and nothing is moved where the order is right.
            self.found.sort_by_key(|found| (found.path, found.depth));
            self.sorted = true;
        }
    }

    /// The values at a path.
    #[must_use]
    pub fn at(&self, path: PathId) -> &[Found<'v, J>] {
        debug_assert!(self.sorted, "sorted before it is asked");
        let found = self.found.as_slice();
        if found.len() <= FEW {
            let begin = found.iter().position(|found| found.path == path).unwrap_or(found.len());
            let count = found[begin..].iter().position(|found| found.path != path).unwrap_or(found.len() - begin);
            return &found[begin..begin + count];
        }
        let begin = found.partition_point(|found| found.path < path);
        let count = found[begin..].partition_point(|found| found.path == path);
        &found[begin..begin + count]
    }

    /// Whether any value stands in an array of objects: only then can choices conflict.
    #[must_use]
    pub fn has_elements(&self) -> bool {
        !self.elements.is_empty()
    }

    /// The values at a path that may agree with what is fixed, found without looking at each.
    pub fn candidates<'a>(&'a self, path: PathId, fixed: &'a [Fixed]) -> impl Iterator<Item = &'a Found<'v, J>> {
        let mut rest = self.at(path);
        std::iter::from_fn(move || {
            let depth = rest.first()?.depth;
            let (group, others) = rest.split_at(rest.partition_point(|found| found.depth <= depth));
            rest = others;
            Some(self.narrowed(group, fixed))
        })
        .flatten()
        .filter(move |found| self.agrees(found, fixed))
    }

    /// The part of `values`, all of one path and depth, that stands in the elements that are fixed.
    fn narrowed<'a>(&self, values: &'a [Found<'v, J>], fixed: &[Fixed]) -> &'a [Found<'v, J>] {
        let mut values = values;
        for depth in 0.. {
            let (Some(first), Some(last)) = (values.first(), values.last()) else { break };
            let (Some(first), Some(last)) = (self.element_at(first, depth), self.element_at(last, depth)) else { break };
            let Some(wanted) = fixed.iter().find(|fixed| fixed.array == first.array && first.array == last.array) else { break };
            // What stands between two values of one array stands in that array too, in the order of its elements.
            let index = |found: &Found<'v, J>| self.element_at(found, depth).map_or(0, |element| element.index);
            let begin = values.partition_point(|found| index(found) < wanted.index);
            let count = values[begin..].partition_point(|found| index(found) == wanted.index);
            values = &values[begin..begin + count];
        }
        values
    }

    /// Whether a value agrees with what is fixed.
    #[must_use]
    fn agrees(&self, found: &Found<'_, J>, fixed: &[Fixed]) -> bool {
        self.chain(found).all(|element| fixed.iter().all(|fixed| fixed.array != element.array || fixed.index == element.index))
    }

    /// Fixes the elements that a value stands in; the caller takes them back by truncating.
    pub fn fix(&self, found: &Found<'_, J>, fixed: &mut Vec<Fixed>) {
        for element in self.chain(found) {
            if !fixed.iter().any(|fixed| fixed.array == element.array) {
                fixed.push(Fixed { array: element.array, index: element.index, path: element.path });
            }
        }
    }

    fn chain(&self, found: &Found<'_, J>) -> impl Iterator<Item = Element> {
        std::iter::successors(self.elements.get(found.element as usize), |element| self.elements.get(element.outer as usize)).copied()
    }

    fn element_at(&self, found: &Found<'_, J>, depth: u32) -> Option<Element> {
        self.chain(found).find(|element| element.depth <= depth).filter(|element| element.depth == depth)
    }

    fn object(&mut self, map: &'v J, at: PathId, element: u32, paths: &Paths) {
        for (key, value) in map.fields() {
            if let Some(path) = paths.descend(at, key) {
                self.value(value, path, element, paths);
            }
        }
    }

    fn value(&mut self, value: &'v J, path: PathId, element: u32, paths: &Paths) {
        let node = &paths.nodes[path as usize];
        match value.view() {
            View::Object if !node.children.is_empty() => self.object(value, path, element, paths),
            View::List(items) => self.array(items, path, element, paths),
            View::Object => {}
            _ if node.named => {
                let depth = self.elements.get(element as usize).map_or(0, |element| element.depth + 1);
                self.found.push(Found { path, value, element, depth });
            }
            _ => {}
        }
    }

    /// Scalars stand in the array as a whole; objects and arrays in it are elements of their own.
    fn array(&mut self, items: &'v [J], path: PathId, outer: u32, paths: &Paths) {
        let array = self.arrays;
        self.arrays += 1;
        let depth = self.elements.get(outer as usize).map_or(0, |element| element.depth + 1);
        for (index, item) in items.iter().enumerate() {
            let inner = if matches!(item.view(), View::Object | View::List(_)) {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                self.elements.push(Element { array, index, path, outer, depth });
                u32::try_from(self.elements.len() - 1).unwrap_or(NOWHERE)
            } else {
                outer
            };
            self.value(item, path, inner, paths);
        }
    }
}

/// What of the fixed elements still matters to values at `later` paths.
#[must_use]
pub fn relevant(fixed: &[Fixed], later: &[PathId], paths: &Paths) -> Vec<Fixed> {
    let mut kept: Vec<Fixed> = fixed.iter().filter(|fixed| later.iter().any(|path| paths.is_below(*path, fixed.path))).copied().collect();
    kept.sort_unstable_by_key(|fixed| fixed.array);
    kept
}

/// A quick hash for field names. The table is filled by rules alone, so nobody outside can make its keys collide.
#[derive(Clone, Copy, Debug, Default)]
pub struct NameHasher(u64);

impl Hasher for NameHasher {
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }
    fn write(&mut self, bytes: &[u8]) {
        const FACTOR: u64 = 0xf135_7aea_2e62_a9c5;
        let mut add = |word: u64| self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(FACTOR);
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| add(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| add(u64::from(*byte)));
        add(bytes.len() as u64);
    }
}
