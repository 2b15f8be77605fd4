//! A page size as a value, where functions have it as a parameter of their type.

/// Calls a function that is generic in the page size with one of all page sizes: the first for 0, around and around.
#[macro_export]
macro_rules! with_any_page_size {
    ($choice:expr, $function:ident ( $($argument:expr),* )) => {
        match $choice % 15 {
            0 => $function::<1024>($($argument),*),
            1 => $function::<2048>($($argument),*),
            2 => $function::<4096>($($argument),*),
            3 => $function::<8192>($($argument),*),
            4 => $function::<16384>($($argument),*),
            5 => $function::<32768>($($argument),*),
            6 => $function::<65536>($($argument),*),
            7 => $function::<131_072>($($argument),*),
            8 => $function::<262_144>($($argument),*),
            9 => $function::<524_288>($($argument),*),
            10 => $function::<1_048_576>($($argument),*),
            11 => $function::<2_097_152>($($argument),*),
            12 => $function::<4_194_304>($($argument),*),
            13 => $function::<8_388_608>($($argument),*),
            _ => $function::<16_777_216>($($argument),*),
        }
    };
}

/// A page size that is small enough to go through many files a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, arbitrary::Arbitrary)]
pub enum PageSize {
    /// 1 KiB: a block of the engine takes four pages.
    Small,
    /// 4 KiB: one page is one block.
    Block,
    /// 16 KiB: a block takes the head of a page.
    Large,
}

/// Calls a function that is generic in the page size.
#[macro_export]
macro_rules! with_page_size {
    ($size:expr, $function:ident ( $($argument:expr),* )) => {
        match $size {
            $crate::page_sizes::PageSize::Small => $function::<1024>($($argument),*),
            $crate::page_sizes::PageSize::Block => $function::<4096>($($argument),*),
            $crate::page_sizes::PageSize::Large => $function::<16384>($($argument),*),
        }
    };
}
