//! # Purpose
//! Refuses to compile where a secret could be shown.
//!
//! # Invariants kept here
//! - What is listed has neither `Display` nor `Serialize`; what nobody has to print has no `Debug` either.
//!
//! # Not here
//! That a `Debug` which is there leaves the secret out: the tests of each type. That no type is missing in the lists:
//! `tests/architecture.rs`.

/// For types that may be printed, without the secret, by `Debug` alone.
macro_rules! never_shown {
    ($($secret:ty),+ $(,)?) => {$(
        const _: () = {
            // For a type that has one of the traits, which of the implementations is meant cannot be told.
            trait Unshown<By> {
                const IS_SO: () = ();
            }
            struct Displayed;
            struct Serialized;
            impl<T: ?Sized> Unshown<()> for T {}
            impl<T: ?Sized + std::fmt::Display> Unshown<Displayed> for T {}
            impl<T: ?Sized + serde::Serialize> Unshown<Serialized> for T {}
            <$secret as Unshown<_>>::IS_SO
        };
    )+};
}

/// For types that are nothing but the secret.
macro_rules! never_printed {
    ($($secret:ty),+ $(,)?) => {
        crate::secrets::never_shown!($($secret),+);
        $(const _: () = {
            trait Unprinted<By> {
                const IS_SO: () = ();
            }
            struct Printed;
            impl<T: ?Sized> Unprinted<()> for T {}
            impl<T: ?Sized + std::fmt::Debug> Unprinted<Printed> for T {}
            <$secret as Unprinted<_>>::IS_SO
        };)+
    };
}

pub(crate) use {never_printed, never_shown};
