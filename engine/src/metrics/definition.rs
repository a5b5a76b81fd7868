//! Definition: what a published number is, written once.
//!
//! In:  a line of `metrics!` (see `catalog.rs`) or of `labels!` (see `labels.rs`): a doc comment, a name, a variant.
//! Out: the enum of numbers with each one's place, and the facts from which `/metrics` and its page are made.

/// How a number behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How often something was how large.
    Histogram,
}

/// What is published under one name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family<Number: 'static> {
    /// Without the `holdfast_` before it, without its unit, and without the `_total` behind a counter.
    pub(crate) name: &'static str,
    /// What it is, in one sentence.
    pub(crate) help: &'static str,
    /// How its numbers behave.
    pub(crate) kind: Kind,
    /// The unit that ends its name, empty where there is none.
    pub(crate) unit: &'static str,
    /// The name of the label that tells its numbers apart, empty where there is only one.
    pub(crate) label: &'static str,
    /// The numbers, with the label's values; none where a shard does not count them.
    pub(crate) metrics: &'static [(Number, &'static str)],
    /// True exactly when only a node with `engine.type = "redis"` has it.
    pub(crate) needs_redis: bool,
    /// For the page only: what the label's values mean, in the order of `metrics`.
    pub(super) meanings: fn() -> Vec<String>,
    /// For the page only: more about it.
    pub(crate) note: &'static str,
    /// For the page only: what an operator watches for.
    pub(super) watch: &'static str,
}

/// Makes, of one list, the enum of all numbers, each one's place, and the catalog of families. A line is
/// `gauge "name" => Variant;` under the doc comment that is also the published help. A family of several numbers is
/// `counter "name" => Variant(label: Values);` with an enum of `labels!`, or
/// `counter "name" by label => Variant = "value", Other = "other value";`. Behind it may stand `with redis;`, where a node
/// alone does not have it, and `note "…";` and `watch "…";`, in this order, for the page. The line `parts …;` names the numbers of a histogram, which its publisher
/// puts together.
macro_rules! metrics {
    (
        $(#[doc = $about:literal])+
        $vis:vis enum $enum:ident, $catalog:ident;
        parts $( $part:ident $(($part_value:ident: $part_values:ident))? ),+;
        $(
            #[doc = $help:literal]
            $kind:ident $name:literal $(by $label:ident)?
                => $( $variant:ident $(($value:ident: $values:ident))? $(= $at:literal)? ),+;
            $(with $engine:ident;)?
            $(note $note:literal;)?
            $(watch $watch:literal;)?
        )+
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $enum {
            $($( #[doc = $help] $variant $(($values))?, )+)+
            $( $part $(($part_values))?, )+
        }

        /// All that is published for each shard, in the order in which it is published.
        $vis const $catalog: &[$crate::metrics::definition::Family<$enum>] = &[$(
            $crate::metrics::definition::Family {
                name: $name,
                help: $help.trim_ascii(),
                kind: $crate::metrics::definition::fact!(kind $kind),
                unit: "",
                label: $crate::metrics::definition::fact!(label $($label)? $($($value)?)+),
                metrics: $crate::metrics::definition::numbers!(
                    $enum, $($variant $(($values))? $(= $at)?),+
                ),
                needs_redis: $crate::metrics::definition::fact!(with $($engine)?),
                meanings: $crate::metrics::definition::fact!(meanings $($($values)?)+),
                note: concat!($($note)?),
                watch: concat!($($watch)?),
            },
        )+];

        const _: () = {
            /// The variants without what they hold: each one's place among them.
            #[derive(Clone, Copy)]
            enum Order {
                $($($variant,)+)+
                $($part,)+
            }

            /// How many numbers each variant stands for.
            const WIDTHS: &[usize] = &[
                $($( $crate::metrics::definition::fact!(width $($values)?), )+)+
                $( $crate::metrics::definition::fact!(width $($part_values)?), )+
            ];

            // Plain constants, because the length of an array of all depends on them, and that must not depend on a
            // function of this crate: the compiler would go round in a circle.
            const STARTS: [usize; WIDTHS.len() + 1] = {
                let mut starts = [0; WIDTHS.len() + 1];
                let mut at = 0;
                while at < WIDTHS.len() {
                    starts[at + 1] = starts[at] + WIDTHS[at];
                    at += 1;
                }
                starts
            };

            impl $enum {
                /// How many there are.
                $vis const COUNT: usize = STARTS[WIDTHS.len()];

                /// Its place among all numbers: known when the daemon is built, for those that are named where they are
                /// counted.
                #[must_use]
                #[inline]
                $vis const fn index(self) -> usize {
                    match self {
                        $($(
                            Self::$variant $(($value))? =>
                                STARTS[Order::$variant as usize] $(+ $value.place())?,
                        )+)+
                        $(
                            Self::$part $(($part_value))? =>
                                STARTS[Order::$part as usize] $(+ $part_value.place())?,
                        )+
                    }
                }
            }
        };
    };
}
pub(super) use metrics;

/// Families that are no shard's, or no plain number: a line is `NAME => gauge "name" in unit by label;` under the doc
/// comment that is also the published help. Who publishes them names them. The first line names the list of all, and says
/// `with redis` where a node alone has none of them.
macro_rules! families {
    (
        $number:ident, $list:ident $(with $engine:ident)?;
        $(
            #[doc = $help:literal]
            $const:ident => $kind:ident $name:literal $(in $unit:ident)? $(by $label:ident)?;
            $(note $note:literal;)?
            $(watch $watch:literal;)?
        )+
    ) => {
        $(
            #[doc = $help]
            pub(crate) const $const: $crate::metrics::definition::Family<$number> =
                $crate::metrics::definition::Family {
                    name: $name,
                    help: $help.trim_ascii(),
                    kind: $crate::metrics::definition::fact!(kind $kind),
                    unit: $crate::metrics::definition::fact!(label $($unit)?),
                    label: $crate::metrics::definition::fact!(label $($label)?),
                    metrics: &[],
                    needs_redis: NEEDS_REDIS,
                    meanings: Vec::new,
                    note: concat!($($note)?),
                    watch: concat!($($watch)?),
                };
        )+

        const NEEDS_REDIS: bool = $crate::metrics::definition::fact!(with $($engine)?);

        /// All of these, in their order.
        pub(super) const $list: &[$crate::metrics::definition::Family<$number>] = &[$($const),+];
    };
}
pub(super) use families;

/// One fact of a family, or what holds where the line does not say it.
macro_rules! fact {
    (kind counter) => {
        $crate::metrics::definition::Kind::Counter
    };
    (kind gauge) => {
        $crate::metrics::definition::Kind::Gauge
    };
    (kind histogram) => {
        $crate::metrics::definition::Kind::Histogram
    };
    (label) => {
        ""
    };
    (label $label:ident) => {
        stringify!($label)
    };
    (with) => {
        false
    };
    (with redis) => {
        true
    };
    (width) => {
        1
    };
    (width $values:ident) => {
        $values::ALL.len()
    };
    (meanings) => {
        Vec::new
    };
    (meanings $values:ident) => {
        $values::meanings
    };
}
pub(super) use fact;

/// The numbers of a family, with the values of its label.
macro_rules! numbers {
    ($enum:ident, $variant:ident) => {
        &[($enum::$variant, "")]
    };
    ($enum:ident, $($variant:ident = $at:literal),+) => {
        &[$(($enum::$variant, $at)),+]
    };
    ($enum:ident, $variant:ident($values:ident)) => {{
        const EACH: [($enum, &str); $values::ALL.len()] = {
            let mut each = [($enum::$variant($values::ALL[0].0), ""); $values::ALL.len()];
            let mut at = 0;
            while at < each.len() {
                each[at] = ($enum::$variant($values::ALL[at].0), $values::ALL[at].1);
                at += 1;
            }
            each
        };
        &EACH
    }};
}
pub(super) use numbers;

/// Makes, of one list, an enum and the values of the label that its numbers have. A line is `Variant = "value",` under
/// the doc comment that the page repeats.
macro_rules! labels {
    ($(
        $(#[doc = $about:literal])+
        $vis:vis enum $enum:ident {
            $( #[doc = $meaning:literal] $variant:ident = $name:literal, )+
        }
    )+) => {$(
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        $vis enum $enum {
            $( #[doc = $meaning] $variant, )+
        }

        impl $enum {
            /// All of them, in their order, with their names in metrics.
            $vis const ALL: [(Self, &'static str); [$($name),+].len()] = [$((Self::$variant, $name)),+];

            /// Its place among them.
            $vis const fn place(self) -> usize {
                self as usize
            }

            /// What each means, for the page.
            pub(in crate::metrics) fn meanings() -> Vec<String> {
                [$($meaning),+].map(|meaning| meaning.trim().to_owned()).into()
            }
        }
    )+};
}
pub(super) use labels;
