//! `list_files`: a sample that lists a folder below one root. Needs `mcp:tools:read`.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde_json::{Map, Value, json};
use shared::date;
use shared::scope::TOOLS_READ;
use shared::time::Timestamp;

use super::{
    Answer, Arguments, Call, Definition, Field, Kind, Tool, ToolError, arguments, glob, needs, object, output,
};

const FIELDS: &[Field] = &[
    Field {
        name: "path",
        kind: Kind::Text { max: 1024 },
        required: true,
        description: "A folder, relative to the root that the server was given; \".\" is the root itself.",
    },
    Field {
        name: "pattern",
        kind: Kind::Text { max: 128 },
        required: false,
        description: "Which names to list: * is any text, ? any character. All of them by default.",
    },
];

/// At most this many entries are listed; an answer goes into a model's context.
const MOST_LISTED: usize = 500;

/// At most this many entries are looked at, so that a huge folder takes bounded time.
const MOST_READ: usize = 10_000;

/// The tool.
pub struct ListFiles {
    root: Option<PathBuf>,
}

impl ListFiles {
    /// Lists below `root`; without one it refuses.
    pub fn new(root: Option<PathBuf>) -> Self {
        Self { root }
    }
}

impl Tool for ListFiles {
    fn definition(&self) -> Definition {
        Definition {
            name: "list_files".into(),
            title: "List files (sample)".into(),
            description: "Lists the files of a folder below the root that the server was started with. Needs the \
                          scope mcp:tools:read."
                .into(),
            input: arguments::schema(FIELDS),
            output: output(json!({
                "path": { "type": "string" },
                "pattern": { "type": "string" },
                "files": { "type": "array", "items": {
                    "type": "object",
                    "properties": {
                        "name": { "type": "string" },
                        "size": { "type": "integer", "description": "Bytes." },
                        "type": { "type": "string", "enum": ["file", "directory", "symlink", "other"] },
                        "modified": { "type": ["string", "null"], "description": "RFC 3339, UTC." },
                    },
                    "required": ["name", "size", "type", "modified"],
                } },
                "total": { "type": "integer", "description": "How many matched." },
                "truncated": { "type": "boolean", "description": "Whether some were left out." },
            })),
            access: needs(TOOLS_READ),
            read_only: true,
        }
    }

    fn call<'a>(&'a self, given: Map<String, Value>, _call: &'a Call) -> Answer<'a> {
        Box::pin(async move {
            let mut arguments = Arguments::read(given, FIELDS)?;
            let path = arguments.take("path").unwrap_or_default();
            let pattern = arguments.take("pattern").unwrap_or_else(|| "*".to_owned());
            let root = self.root.clone().ok_or(ToolError::Failed(
                "this server was given no folder to list; start it with --files-root DIR".into(),
            ))?;
            tokio::task::spawn_blocking(move || list(&root, &path, &pattern).map(object))
                .await
                .map_err(|_| ToolError::Failed("listing the folder failed".into()))?
        })
    }
}

fn refused(why: &str) -> ToolError {
    ToolError::Argument(format!("bad arguments: \"path\" {why}"))
}

/// The folder that `path` names, with every link followed, if it lies below `root`.
fn resolve(root: &Path, path: &str) -> Result<PathBuf, ToolError> {
    let relative = Path::new(path);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    // A backslash or a colon leads elsewhere on Windows; no portable name has one.
    if path.contains(['\0', '\\', ':']) || !relative.components().all(plain) {
        return Err(refused("must be relative, without .. and without \\ and :"));
    }
    let missing = || refused("names no folder below the root");
    let root = fs::canonicalize(root).map_err(|_| ToolError::Failed("the root folder cannot be read".into()))?;
    let folder = fs::canonicalize(root.join(relative)).map_err(|_| missing())?;
    // The same words whether it lies outside or is not there: nothing is learnt about the world outside.
    if !folder.starts_with(&root) || !folder.is_dir() {
        return Err(missing());
    }
    Ok(folder)
}

fn list(root: &Path, path: &str, pattern: &str) -> Result<Value, ToolError> {
    let folder = resolve(root, path)?;
    let entries = fs::read_dir(folder).map_err(|_| ToolError::Failed("the folder cannot be read".into()))?;
    let mut files = Vec::new();
    let mut read = 0;
    for entry in entries.flatten().take(MOST_READ) {
        read += 1;
        let name = entry.file_name().to_string_lossy().into_owned();
        if glob::matches(pattern, &name) {
            files.push((name, entry));
        }
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    let total = files.len();
    let files: Vec<_> = files.into_iter().take(MOST_LISTED).map(|(name, entry)| describe(name, &entry)).collect();
    let truncated = total > files.len() || read == MOST_READ;
    Ok(json!({ "path": path, "pattern": pattern, "files": files, "total": total, "truncated": truncated }))
}

/// One entry. Links are not followed, nothing is opened: a device or a pipe is only named.
fn describe(name: String, entry: &fs::DirEntry) -> Value {
    let metadata = entry.metadata().ok();
    let kind = entry.file_type().map_or("other", |kind| match kind {
        _ if kind.is_symlink() => "symlink",
        _ if kind.is_dir() => "directory",
        _ if kind.is_file() => "file",
        _ => "other",
    });
    let modified = metadata
        .as_ref()
        .and_then(|metadata| metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok())
        .map(|since| date::rfc3339(Timestamp(since.as_secs())));
    json!({ "name": name, "size": metadata.map_or(0, |metadata| metadata.len()), "type": kind, "modified": modified })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, PathBuf) {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::create_dir(outside.path().join("root-twin")).unwrap();
        fs::write(root.join("a.txt"), "hello").unwrap();
        fs::write(root.join("b.md"), "").unwrap();
        fs::write(outside.path().join("secret"), "").unwrap();
        (outside, root)
    }

    fn names(listed: &Value) -> Vec<&str> {
        listed["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_folder_below_the_root_is_listed() {
        let (_outside, root) = root();
        let listed = list(&root, ".", "*").unwrap();
        assert_eq!(names(&listed), ["a.txt", "b.md", "sub"]);
        assert_eq!(listed["files"][0]["size"], 5);
        assert_eq!(listed["files"][2]["type"], "directory");
        assert_eq!(names(&list(&root, "", "*.md").unwrap()), ["b.md"]);
        assert_eq!(list(&root, "sub/.", "*").unwrap()["total"], 0);
    }

    #[test]
    fn arg_10_nothing_outside_the_root_is_read() {
        let (outside, root) = root();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(outside.path(), root.join("out")).unwrap();
            std::os::unix::fs::symlink(outside.path().join("root-twin"), root.join("twin")).unwrap();
            std::os::unix::fs::symlink("/dev", root.join("dev")).unwrap();
        }
        let absolute = outside.path().to_string_lossy().into_owned();
        for path in [
            "..",
            "sub/../..",
            "./..",
            "/",
            &absolute,
            "out",
            "out/root-twin",
            "twin",
            "dev",
            "/dev/zero",
            "a\0b",
            "a.txt",
            "missing",
            "C:\\",
            "..\\..",
            "\\\\host\\share",
            "file:///etc",
        ] {
            let answer = list(&root, path, "*");
            assert!(matches!(answer, Err(ToolError::Argument(_))), "{path}: {answer:?}");
            assert!(!answer.unwrap_err().to_string().contains("secret"), "{path}");
        }
    }

    #[test]
    fn a_long_folder_is_cut() {
        let (_outside, root) = root();
        for index in 0..MOST_LISTED + 10 {
            fs::write(root.join(format!("sub/{index:04}")), "").unwrap();
        }
        let listed = list(&root, "sub", "*").unwrap();
        assert_eq!((names(&listed).len(), listed["total"].as_u64()), (MOST_LISTED, Some(MOST_LISTED as u64 + 10)));
        assert_eq!(listed["truncated"], true);
    }
}
