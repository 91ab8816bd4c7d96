//! Fuzz targets of the workspace. `README.md` says how to run them.

pub mod entries;
