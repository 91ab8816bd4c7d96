//! Tasks of a wrapped server: who may begin one may look after it, and nobody else.

use serde_json::{Value, json};

use crate::host::{Host, modern};
use crate::store::Fixture;

/// A server of 2026-07-28 whose `look` and `change` begin the tasks t1 and t2.
const SERVER: &str = r#"
while IFS= read -r line; do
  [[ $line =~ \"id\":([0-9]+|\"[^\"]*\") ]] || continue
  id=${BASH_REMATCH[1]}
  answer() { printf '{"jsonrpc":"2.0","id":%s,"result":{"resultType":%s}}\n' "$id" "$1"; }
  case $line in
    *'"method":"initialize"'*) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"no"}}\n' "$id" ;;
    *'"method":"server/discover"'*) answer '"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"public"' ;;
    *'"method":"tools/list"'*) answer '"complete","tools":[{"name":"look","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}},{"name":"change","inputSchema":{"type":"object"}}],"ttlMs":0,"cacheScope":"public"' ;;
    *'"name":"look"'*) answer '"task","taskId":"t1","status":"working"' ;;
    *'"name":"change"'*) answer '"task","taskId":"t2","status":"working"' ;;
    *) answer '"complete","passed":true' ;;
  esac
done
"#;

#[track_caller]
fn check(host: &mut Host, token: &str, method: &str, task: Value, code: Option<i64>) {
    let mut meta = modern();
    if !token.is_empty() {
        meta["authz/access_token"] = json!(token);
    }
    let answer = host.request(method, json!({ "taskId": task, "_meta": meta }));
    assert_eq!(answer["error"]["code"].as_i64(), code, "{answer}");
    assert_eq!(answer["result"]["passed"] == true, code.is_none(), "{answer}");
}

#[test]
fn a_task_is_looked_after_by_whoever_may_call_its_tool() {
    let fixture = Fixture::new();
    let mut host = Host::start(&fixture.path(), &["wrap", "--", "bash", "-c", SERVER]);
    let [full, reads, none] = ["mcp:tools", "mcp:tools:read", "mcp:resources"].map(|scope| fixture.issue(scope).token);
    let only = fixture.issue_only("mcp:tools", &["change"]).token;
    for (tool, task) in [("look", "t1"), ("change", "t2")] {
        let mut meta = modern();
        meta["authz/access_token"] = json!(full);
        let begun = host.request("tools/call", json!({ "name": tool, "_meta": meta }));
        assert_eq!(begun["result"]["taskId"], task, "{begun}");
    }
    for method in ["tasks/get", "tasks/update", "tasks/cancel", "tasks/result"] {
        for (token, of_look, of_change, unknown) in [
            (&full, None, None, None),
            // Reading is enough for what only reads.
            (&reads, None, Some(403), Some(403)),
            (&none, Some(403), Some(403), Some(403)),
            // The person left `look` out.
            (&only, Some(403), None, Some(403)),
            (&String::new(), Some(401), Some(401), Some(401)),
        ] {
            check(&mut host, token, method, json!("t1"), of_look);
            check(&mut host, token, method, json!("t2"), of_change);
            check(&mut host, token, method, json!("t3"), unknown);
        }
    }
    check(&mut host, &full, "tasks/get", json!(7), Some(-32602));
    // What a lax reader would take for another task.
    let twice = json!({ "taskId": "t1", "taskID": "t2", "_meta": modern() });
    assert_eq!(host.request("tasks/get", twice)["error"]["code"], -32600);
    host.finish();
}
