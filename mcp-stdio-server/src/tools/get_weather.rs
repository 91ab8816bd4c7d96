//! `get_weather`: a sample with fixed answers. Needs `mcp:tools:read`.

use serde_json::{Map, Value, json};
use shared::scope::TOOLS_READ;

use super::{Answer, Arguments, Call, Definition, Field, Kind, Tool, arguments, needs, output, ready};

const FIELDS: &[Field] = &[
    Field {
        name: "location",
        kind: Kind::Text { max: 200 },
        required: true,
        description: "City or place, such as \"San Francisco, CA\".",
    },
    Field {
        name: "units",
        kind: Kind::Choice(&["celsius", "fahrenheit"]),
        required: false,
        description: "The unit of temperatures.",
    },
];

/// The tool.
pub struct GetWeather;

impl Tool for GetWeather {
    fn definition(&self) -> Definition {
        let number = || json!({ "type": "integer" });
        Definition {
            name: "get_weather".into(),
            title: "Weather (sample)".into(),
            description: "Gives sample weather for a location; the figures are made up. Needs the scope \
                          mcp:tools:read."
                .into(),
            input: arguments::schema(FIELDS),
            output: output(json!({
                "location": { "type": "string" },
                "temperature": number(),
                "units": { "type": "string", "enum": ["celsius", "fahrenheit"] },
                "conditions": { "type": "string" },
                "humidity": { "type": "integer", "description": "Percent." },
                "wind_speed": { "type": "integer", "description": "Kilometres per hour." },
                "forecast": { "type": "array", "items": {
                    "type": "object",
                    "properties": {
                        "day": { "type": "string" }, "high": number(), "low": number(),
                        "conditions": { "type": "string" },
                    },
                    "required": ["day", "high", "low", "conditions"],
                } },
            })),
            access: needs(TOOLS_READ),
            read_only: true,
        }
    }

    fn call<'a>(&'a self, given: Map<String, Value>, _call: &'a Call) -> Answer<'a> {
        ready(Arguments::read(given, FIELDS).map(|mut arguments| {
            let location = arguments.take("location").unwrap_or_default();
            let units = arguments.take("units").unwrap_or_else(|| "celsius".to_owned());
            weather(&location, &units)
        }))
    }
}

fn weather(location: &str, units: &str) -> Value {
    let degrees = |celsius: i32| if units == "fahrenheit" { celsius * 9 / 5 + 32 } else { celsius };
    let day = |day: &str, high, low, conditions: &str| json!({ "day": day, "high": degrees(high), "low": degrees(low), "conditions": conditions });
    json!({
        "location": location,
        "temperature": degrees(22),
        "units": units,
        "conditions": "Partly cloudy",
        "humidity": 65,
        "wind_speed": 10,
        "forecast": [
            day("Tomorrow", 24, 15, "Sunny"),
            day("Day 2", 23, 14, "Partly cloudy"),
            day("Day 3", 20, 13, "Rain"),
        ],
    })
}
