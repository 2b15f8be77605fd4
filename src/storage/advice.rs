//! How a program says that it will access pages.

/// In which order pages will be read: advice to the operating system, which reads ahead accordingly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AccessPattern {
    /// Nothing is known about the order. What applies unless something else is said.
    #[default]
    Normal,
    /// Here and there: what lies beside a page is not worth reading with it.
    Random,
    /// Ascending: what lies behind a page will be read soon, and what lies before it is not needed any more.
    Sequential,
}
