//! Filters: which publications a subscriber wants, by their tags.
//!
//! In:  the tree that came with a subscribe request; later, the tags of each publication.
//! Out: a checked filter of bounded size; later, yes or no.
//!
//! A tree is checked once and evaluated for each subscriber of each publication, so its size is bounded:
//! [`NODES_MAX`] tests, [`VALUES_MAX`] values and [`TEXT_BYTES_MAX`] bytes of names and values. Nothing is allocated to evaluate it.

use std::borrow::Cow;

use super::ErrorCode;
use super::decimal::Decimal;
use super::message::message;

/// How many nodes may lie above one another.
pub const DEPTH_MAX: usize = 8;
/// How many nodes a filter may have.
pub const NODES_MAX: usize = 64;
/// How many values the lists of a filter may have, all together.
pub const VALUES_MAX: usize = 256;
/// How long the names and values of a filter may be, all together, in bytes.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;

message! {
    /// A node of the tree, as it comes.
    pub struct FilterNode<'a> {
        /// `and`, `or`, `not`; empty for a leaf.
        1 op: Cow<'a, str>,
        /// A leaf's tag.
        2 key: Cow<'a, str>,
        /// A leaf's comparison: `eq neq in nin ex nex sw ew ct gt gte lt lte`.
        3 cmp: Cow<'a, str>,
        /// What the tag is compared with.
        4 val: Cow<'a, str>,
        /// The list for `in` and `nin`.
        5 vals: Vec<Cow<'a, str>>,
        /// What `and`, `or` and `not` are about.
        6 nodes: Vec<FilterNode<'a>>,
    }
}

/// Why a tree is not a filter. Always the client's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Not `and`, `or`, `not` or empty.
    #[error("unknown op in a tags filter; use and, or, not, or none for a comparison")]
    OpUnknown,
    /// Not one of the thirteen.
    #[error("unknown cmp in a tags filter; use eq, neq, in, nin, ex, nex, sw, ew, ct, gt, gte, lt or lte")]
    CmpUnknown,
    /// A comparison is about a tag.
    #[error("a comparison in a tags filter has no key")]
    KeyMissing,
    /// `in` and `nin` take `vals`, `ex` and `nex` nothing, all others `val`.
    #[error(
        "a comparison in a tags filter has the wrong operand; in and nin take vals, ex and nex none, others val"
    )]
    OperandWrong,
    /// `and` and `or` take at least one node, `not` exactly one.
    #[error("a node of a tags filter has the wrong number of nodes; and and or take some, not takes one")]
    NodesWrong,
    /// Our limits.
    #[error(
        "the tags filter is too large; {DEPTH_MAX} levels, {NODES_MAX} nodes, {VALUES_MAX} values and \
         {TEXT_BYTES_MAX} bytes of text are allowed"
    )]
    TooLarge,
}

impl FilterError {
    /// The one place where this error becomes an answer.
    pub const fn code(self) -> ErrorCode {
        ErrorCode::BAD_REQUEST
    }
}

/// A checked tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter {
    root: Node,
    cost_bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Node {
    And(Box<[Self]>),
    Or(Box<[Self]>),
    Not(Box<Self>),
    Leaf { key: Box<str>, test: Test },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Test {
    Equal(Box<str>),
    NotEqual(Box<str>),
    In(Box<[Box<str>]>),
    NotIn(Box<[Box<str>]>),
    Exists,
    NotExists,
    StartsWith(Box<str>),
    EndsWith(Box<str>),
    Contains(Box<str>),
    Greater(Box<str>),
    GreaterOrEqual(Box<str>),
    Less(Box<str>),
    LessOrEqual(Box<str>),
}

impl Filter {
    /// Checks a tree.
    pub fn new(tree: &FilterNode<'_>) -> Result<Self, FilterError> {
        let mut budget =
            Budget { nodes_left: NODES_MAX, values_left: VALUES_MAX, text_bytes_left: TEXT_BYTES_MAX };
        let root = budget.node(tree, DEPTH_MAX)?;
        Ok(Self { root, cost_bytes: budget.spent_bytes() })
    }

    /// Memory that it takes beside the value itself, about.
    pub const fn cost_bytes(&self) -> usize {
        self.cost_bytes
    }

    /// True exactly when a publication is wanted whose tags `tag` looks up.
    pub fn matches<'t>(&self, tag: impl Fn(&str) -> Option<&'t str>) -> bool {
        self.root.matches(&tag)
    }
}

/// What of the limits is left while a tree is checked.
struct Budget {
    nodes_left: usize,
    values_left: usize,
    text_bytes_left: usize,
}

impl Budget {
    /// Memory for what has been taken of it.
    const fn spent_bytes(&self) -> usize {
        let nodes = (NODES_MAX - self.nodes_left) * size_of::<Node>();
        let values = (VALUES_MAX - self.values_left) * size_of::<Box<str>>();
        nodes + values + TEXT_BYTES_MAX - self.text_bytes_left
    }

    fn text(&mut self, text: &str) -> Result<Box<str>, FilterError> {
        self.text_bytes_left = self.text_bytes_left.checked_sub(text.len()).ok_or(FilterError::TooLarge)?;
        Ok(text.into())
    }

    fn node(&mut self, tree: &FilterNode<'_>, depth_left: usize) -> Result<Node, FilterError> {
        let depth_left = depth_left.checked_sub(1).ok_or(FilterError::TooLarge)?;
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or(FilterError::TooLarge)?;
        match &*tree.op {
            "" => self.leaf(tree),
            "and" => self.nodes(tree, depth_left).map(Node::And),
            "or" => self.nodes(tree, depth_left).map(Node::Or),
            "not" => match &tree.nodes[..] {
                [node] => Ok(Node::Not(Box::new(self.node(node, depth_left)?))),
                _ => Err(FilterError::NodesWrong),
            },
            _ => Err(FilterError::OpUnknown),
        }
    }

    fn nodes(&mut self, tree: &FilterNode<'_>, depth_left: usize) -> Result<Box<[Node]>, FilterError> {
        if tree.nodes.is_empty() {
            return Err(FilterError::NodesWrong);
        }
        tree.nodes.iter().map(|node| self.node(node, depth_left)).collect()
    }

    fn leaf(&mut self, tree: &FilterNode<'_>) -> Result<Node, FilterError> {
        let test = match &*tree.cmp {
            "eq" => Test::Equal(self.operand(tree)?),
            "neq" => Test::NotEqual(self.operand(tree)?),
            "in" => Test::In(self.operands(tree)?),
            "nin" => Test::NotIn(self.operands(tree)?),
            "ex" => Test::Exists,
            "nex" => Test::NotExists,
            "sw" => Test::StartsWith(self.operand(tree)?),
            "ew" => Test::EndsWith(self.operand(tree)?),
            "ct" => Test::Contains(self.operand(tree)?),
            "gt" => Test::Greater(self.operand(tree)?),
            "gte" => Test::GreaterOrEqual(self.operand(tree)?),
            "lt" => Test::Less(self.operand(tree)?),
            "lte" => Test::LessOrEqual(self.operand(tree)?),
            _ => return Err(FilterError::CmpUnknown),
        };
        if matches!(test, Test::Exists | Test::NotExists) {
            if !(tree.val.is_empty() && tree.vals.is_empty()) {
                return Err(FilterError::OperandWrong);
            }
        } else if tree.key.is_empty() {
            return Err(FilterError::KeyMissing);
        }
        Ok(Node::Leaf { key: self.text(&tree.key)?, test })
    }

    fn operands(&mut self, tree: &FilterNode<'_>) -> Result<Box<[Box<str>]>, FilterError> {
        if tree.vals.is_empty() || !tree.val.is_empty() {
            return Err(FilterError::OperandWrong);
        }
        self.values_left = self.values_left.checked_sub(tree.vals.len()).ok_or(FilterError::TooLarge)?;
        tree.vals.iter().map(|value| self.text(value)).collect()
    }

    fn operand(&mut self, tree: &FilterNode<'_>) -> Result<Box<str>, FilterError> {
        if tree.val.is_empty() || !tree.vals.is_empty() {
            return Err(FilterError::OperandWrong);
        }
        self.text(&tree.val)
    }
}

impl Node {
    fn matches<'t, F: Fn(&str) -> Option<&'t str>>(&self, tag: &F) -> bool {
        match self {
            Self::And(nodes) => nodes.iter().all(|node| node.matches(tag)),
            Self::Or(nodes) => nodes.iter().any(|node| node.matches(tag)),
            Self::Not(node) => !node.matches(tag),
            Self::Leaf { key, test } => test.holds(tag(key)),
        }
    }
}

impl Test {
    fn holds(&self, tag: Option<&str>) -> bool {
        match self {
            Self::Equal(value) => tag == Some(value),
            Self::NotEqual(value) => tag != Some(value),
            // Centrifugo takes a missing tag for an empty one here, and so do we.
            Self::In(values) => values.iter().any(|value| **value == *tag.unwrap_or_default()),
            Self::NotIn(values) => values.iter().all(|value| **value != *tag.unwrap_or_default()),
            Self::Exists => tag.is_some(),
            Self::NotExists => tag.is_none(),
            Self::StartsWith(value) => tag.is_some_and(|tag| tag.starts_with(&**value)),
            Self::EndsWith(value) => tag.is_some_and(|tag| tag.ends_with(&**value)),
            Self::Contains(value) => tag.is_some_and(|tag| tag.contains(&**value)),
            Self::Greater(value) => Decimal::compare(tag, value).is_some_and(|order| order.is_gt()),
            Self::GreaterOrEqual(value) => Decimal::compare(tag, value).is_some_and(|order| order.is_ge()),
            Self::Less(value) => Decimal::compare(tag, value).is_some_and(|order| order.is_lt()),
            Self::LessOrEqual(value) => Decimal::compare(tag, value).is_some_and(|order| order.is_le()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf<'a>(key: &'a str, cmp: &'a str, val: &'a str) -> FilterNode<'a> {
        FilterNode { key: key.into(), cmp: cmp.into(), val: val.into(), ..FilterNode::default() }
    }

    fn list<'a>(key: &'a str, cmp: &'a str, vals: &[&'a str]) -> FilterNode<'a> {
        let vals = vals.iter().map(|val| Cow::Borrowed(*val)).collect();
        FilterNode { vals, ..leaf(key, cmp, "") }
    }

    fn node<'a>(op: &'a str, nodes: Vec<FilterNode<'a>>) -> FilterNode<'a> {
        FilterNode { op: op.into(), nodes, ..FilterNode::default() }
    }

    fn matches(tree: &FilterNode<'_>) -> bool {
        let tags = [("ticker", "AAPL"), ("price", "10.50"), ("empty", "")];
        let tag = |key: &str| tags.iter().find(|(known, _)| *known == key).map(|(_, value)| *value);
        Filter::new(tree).unwrap().matches(tag)
    }

    #[test]
    fn each_comparison_holds_where_it_should_and_a_missing_tag_is_not_equal_to_anything() {
        for (key, cmp, val, expected) in [
            ("ticker", "eq", "AAPL", true),
            ("ticker", "eq", "AAP", false),
            ("none", "eq", "AAPL", false),
            ("ticker", "neq", "AAPL", false),
            ("none", "neq", "AAPL", true),
            ("empty", "ex", "", true),
            ("none", "ex", "", false),
            ("none", "nex", "", true),
            ("ticker", "sw", "AA", true),
            ("ticker", "ew", "PL", true),
            ("ticker", "ct", "AP", true),
            ("ticker", "sw", "PL", false),
            ("ticker", "ew", "AA", false),
            ("none", "ct", "A", false),
            ("price", "gt", "9", true),
            ("price", "gt", "10.5", false),
            ("price", "gte", "10.5", true),
            ("price", "lt", "10.500001", true),
            ("price", "lte", "-11", false),
            ("ticker", "gt", "1", false),
            ("ticker", "lte", "1", false),
            ("none", "lt", "1", false),
        ] {
            assert_eq!(matches(&leaf(key, cmp, val)), expected, "{key} {cmp} {val}");
        }
    }

    #[test]
    fn lists_hold_a_missing_tag_for_an_empty_one() {
        assert!(matches(&list("ticker", "in", &["GOOG", "AAPL"])));
        assert!(!matches(&list("ticker", "nin", &["GOOG", "AAPL"])));
        assert!(matches(&list("none", "in", &[""])) && !matches(&list("none", "in", &["x"])));
        assert!(matches(&list("none", "nin", &["x"])));
    }

    #[test]
    fn and_or_and_not_are_what_they_say() {
        let yes = || leaf("ticker", "ex", "");
        let no = || leaf("ticker", "nex", "");
        assert!(matches(&node("and", vec![yes(), yes()])) && !matches(&node("and", vec![yes(), no()])));
        assert!(matches(&node("or", vec![no(), yes()])) && !matches(&node("or", vec![no(), no()])));
        assert!(matches(&node("not", vec![no()])) && !matches(&node("not", vec![yes()])));
    }

    #[test]
    fn a_tree_that_says_nothing_is_refused_as_a_bad_request() {
        for (tree, error) in [
            (node("xor", vec![leaf("a", "ex", "")]), FilterError::OpUnknown),
            (leaf("a", "like", "b"), FilterError::CmpUnknown),
            (FilterNode::default(), FilterError::CmpUnknown),
            (leaf("", "eq", "b"), FilterError::KeyMissing),
            (leaf("a", "eq", ""), FilterError::OperandWrong),
            (leaf("a", "in", "b"), FilterError::OperandWrong),
            (leaf("a", "ex", "b"), FilterError::OperandWrong),
            (list("a", "eq", &["b"]), FilterError::OperandWrong),
            (node("and", vec![]), FilterError::NodesWrong),
            (node("not", vec![leaf("a", "ex", ""), leaf("a", "ex", "")]), FilterError::NodesWrong),
        ] {
            assert_eq!(Filter::new(&tree), Err(error), "{tree:?}");
            assert_eq!(error.code(), ErrorCode::BAD_REQUEST);
        }
    }

    #[test]
    fn a_tree_is_as_large_as_the_limits_and_no_larger() {
        let nested = |depth| (1..depth).fold(leaf("a", "ex", ""), |tree, _| node("not", vec![tree]));
        assert!(Filter::new(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(Filter::new(&nested(DEPTH_MAX + 1)), Err(FilterError::TooLarge));
        let wide = |nodes| node("or", vec![leaf("a", "ex", ""); nodes - 1]);
        assert!(Filter::new(&wide(NODES_MAX)).is_ok());
        assert_eq!(Filter::new(&wide(NODES_MAX + 1)), Err(FilterError::TooLarge));
        assert!(Filter::new(&list("a", "in", &["x"; VALUES_MAX])).is_ok());
        assert_eq!(Filter::new(&list("a", "in", &["x"; VALUES_MAX + 1])), Err(FilterError::TooLarge));
    }
}
