//! A B+tree of byte strings whose nodes are protected pages.
//!
//! All changes of a transaction become durable together, so a split needs no care: a crash leaves the tree before the
//! transaction or the tree after it.

use crate::error::{Error, Result};
use crate::node::{Cell, MAX_CELL_LEN, Node, NodeImage, Split};
use crate::pages::{NodeId, Pages, Transaction};

/// More levels than any tree has: each branch has two children at least. It stops a walk in a file that leads in circles.
const MAX_LEVELS: usize = 32;

/// A tree, by its root. A tree without one holds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) root: Option<NodeId>,
}

fn node<S: Pages>(pages: &S, id: NodeId) -> Result<Node<'_>> {
    Node::new(id, pages.node_bytes(id)?)
}

impl Tree {
    /// The leaf where `key` is, if it is anywhere, and the branches above it, each with the index of the child below.
    fn descend<S: Pages>(root: NodeId, pages: &S, key: &[u8]) -> Result<(Vec<(NodeId, usize)>, NodeId)> {
        let (mut id, mut above) = (root, Vec::new());
        loop {
            let node = node(pages, id)?;
            if node.is_leaf() {
                return Ok((above, id));
            }
            if above.len() == MAX_LEVELS {
                return Err(node.wrong("depth"));
            }
            let child = node.child_for(key)?;
            above.push((id, child));
            id = node.child(child)?;
        }
    }

    pub(crate) fn get<'a, S: Pages>(&self, pages: &'a S, key: &[u8]) -> Result<Option<&'a [u8]>> {
        let Some(root) = self.root else { return Ok(None) };
        let (_, leaf) = Self::descend(root, pages, key)?;
        let leaf = node(pages, leaf)?;
        leaf.find(key)?.ok().map(|index| leaf.cell(index).map(|(_, value)| value)).transpose()
    }

    /// Gives `key` a value, in place of the one that it has.
    ///
    /// # Panics
    ///
    /// When they have more than [`MAX_CELL_LEN`] bytes together; a value counts as 8 bytes at least, as a child has.
    pub(crate) fn put(&mut self, tx: &mut Transaction<'_>, key: &[u8], value: &[u8]) -> Result<()> {
        assert!(key.len() + value.len().max(8) <= MAX_CELL_LEN, "the callers keep keys and values short");
        let root = match self.root {
            Some(root) => root,
            None => new_node(tx, &NodeImage::empty_leaf())?,
        };
        let (mut above, leaf) = Self::descend(root, tx, key)?;
        self.root = Some(root);

        let mut split = put_cell(tx, leaf, (key, value))?;
        while let Some(Split { separator, right }) = split {
            let right = new_node(tx, &right)?;
            split = match above.pop() {
                Some((branch, _)) => put_cell(tx, branch, (&separator, &right.to_u64().to_le_bytes()))?,
                None => {
                    self.root = Some(new_node(tx, &NodeImage::branch(root, &separator, right))?);
                    None
                }
            };
        }
        Ok(())
    }

    /// All cells, ascending.
    pub(crate) fn cells<'a, S: Pages>(&self, pages: &'a S) -> Cells<'a, S> {
        Cells { pages, to_enter: self.root, above: Vec::new(), last_key: None, nodes: 0, has_failed: false }
    }
}

fn new_node(tx: &mut Transaction<'_>, image: &NodeImage) -> Result<NodeId> {
    let id = tx.alloc_protected()?;
    tx.protected_mut(id)?.copy_from_slice(image.as_bytes());
    Ok(id)
}

/// Puts a cell into one node. What does not fit is the caller's to place.
fn put_cell(tx: &mut Transaction<'_>, id: NodeId, (key, value): Cell<'_>) -> Result<Option<Split>> {
    let rebuilt = node(tx, id)?.with(key, value)?;
    tx.protected_mut(id)?.copy_from_slice(rebuilt.left.as_bytes());
    Ok(rebuilt.split)
}

/// A walk over the cells of a tree, made by [`Tree::cells`]. It ends at the first error.
#[derive(Debug)]
pub(crate) struct Cells<'a, S> {
    pages: &'a S,
    to_enter: Option<NodeId>,
    /// The nodes from the root down, each with the index of what comes next in it.
    above: Vec<(Node<'a>, usize)>,
    last_key: Option<&'a [u8]>,
    nodes: u64,
    has_failed: bool,
}

impl<'a, S: Pages> Cells<'a, S> {
    /// How many nodes the walk has come to.
    pub(crate) fn nodes(&self) -> u64 {
        self.nodes
    }

    fn step(&mut self) -> Result<Option<Cell<'a>>> {
        loop {
            if let Some(id) = self.to_enter.take() {
                let node = node(self.pages, id)?;
                if self.above.len() > MAX_LEVELS {
                    return Err(node.wrong("depth"));
                }
                if node.count() == 0 && !(node.is_leaf() && self.above.is_empty()) {
                    return Err(node.wrong("count"));
                }
                self.nodes += 1;
                self.above.push((node, 0));
            }
            let Some((node, next)) = self.above.last_mut() else { return Ok(None) };
            let index = *next;
            *next += 1;
            if node.is_leaf() && index < node.count() {
                let cell = node.cell(index)?;
                // Only a root is empty, so whoever comes to a node twice finds its keys again: this ends every walk.
                if self.last_key.is_some_and(|last| last >= cell.0) {
                    return Err(node.wrong("order of keys"));
                }
                self.last_key = Some(cell.0);
                return Ok(Some(cell));
            }
            if !node.is_leaf() && index <= node.count() {
                self.to_enter = Some(node.child(index)?);
            } else {
                self.above.pop();
            }
        }
    }
}

impl<'a, S: Pages> Iterator for Cells<'a, S> {
    type Item = Result<Cell<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let step = self.step();
        self.has_failed = step.is_err();
        step.transpose()
    }
}
