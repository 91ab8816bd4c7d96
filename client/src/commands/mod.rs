//! What a person types, one file each. A command's doc comment is its help.

pub mod call;
pub mod completions;
pub mod demo;
pub mod list;
pub mod login;
pub mod logout;
pub mod one_shot;
pub mod refresh;
pub mod register;
pub mod status;
pub mod tools;
