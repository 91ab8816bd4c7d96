//! Which tool a task is of: whoever looks after a task must be allowed its tool.
//!
//! Sources: MCP 2025-11-25, "Tasks", and the extension `io.modelcontextprotocol/tasks` that came after it.

use std::collections::{HashMap, VecDeque};

use serde_json::{Map, Value};

use super::target::Target;

/// How many tasks are remembered, the newest. One that is forgotten is judged as what nobody knows.
const MOST: usize = 4096;

/// A longer id is not remembered.
const LONGEST: usize = 256;

/// The tasks that calls have begun.
#[derive(Default)]
pub(super) struct Tasks {
    tools: HashMap<String, String>,
    order: VecDeque<String>,
}

impl Tasks {
    /// A call of this tool is answered; with a task, perhaps.
    pub(super) fn answered(&mut self, tool: &str, answer: &Map<String, Value>) {
        let Some(result) = answer.get("result") else { return };
        let begun = if result["resultType"] == "task" { result } else { &result["task"] };
        let Some(task) = begun["taskId"].as_str() else { return };
        // Whose it was at first it stays: a server that repeats an id hands nobody a task of another tool.
        if task.len() > LONGEST || self.tools.contains_key(task) {
            return;
        }
        if self.order.len() >= MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.tools.remove(&oldest);
        }
        self.order.push_back(task.to_owned());
        self.tools.insert(task.to_owned(), tool.to_owned());
    }

    /// What a request is about, with the tool in place of a task of it.
    pub(super) fn resolved(&self, target: Target) -> Target {
        match target {
            Target::Task(id) => self.tools.get(&id).cloned().map_or(Target::Task(id), Target::TaskOf),
            target => target,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(result: Value) -> Map<String, Value> {
        Map::from_iter([("result".to_owned(), result)])
    }

    #[test]
    fn a_task_is_of_the_tool_whose_call_began_it() {
        let mut tasks = Tasks::default();
        tasks.answered("a", &answer(json!({ "resultType": "task", "taskId": "t1" })));
        tasks.answered("b", &answer(json!({ "resultType": "task", "taskId": "t1" })));
        tasks.answered("b", &answer(json!({ "resultType": "complete", "taskId": "t2" })));
        tasks.answered("b", &answer(json!({ "resultType": "task", "taskId": 7 })));
        tasks.answered("b", &answer(json!({ "task": { "taskId": "old" } })));
        tasks.answered("b", &answer(json!({ "resultType": "task", "taskId": "x".repeat(LONGEST + 1) })));
        let of = |tasks: &Tasks, id: &str| tasks.resolved(Target::Task(id.to_owned()));
        assert_eq!(of(&tasks, "t1"), Target::TaskOf("a".to_owned()));
        assert_eq!(of(&tasks, "old"), Target::TaskOf("b".to_owned()));
        for id in ["t2", "7", &"x".repeat(LONGEST + 1)] {
            assert_eq!(of(&tasks, id), Target::Task(id.to_owned()));
        }
        assert_eq!(tasks.resolved(Target::Nothing), Target::Nothing);
        for i in 0..MOST {
            tasks.answered("c", &answer(json!({ "resultType": "task", "taskId": format!("n{i}") })));
        }
        assert_eq!((tasks.order.len(), tasks.tools.len()), (MOST, MOST), "they are bounded");
        assert_eq!(of(&tasks, "t1"), Target::Task("t1".to_owned()), "the oldest goes");
    }
}
