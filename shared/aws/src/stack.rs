//! A deployed CloudFormation stack, found by its name: how commands learn which table and queues to use.

use crate::table::failed;
use aws_sdk_cloudformation::Client;
use std::collections::BTreeMap;
use syncline_sync::PortError;

/// A stack and its outputs, which `template.yaml` declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The stack's name.
    pub name: String,
    outputs: BTreeMap<String, String>,
}

impl Stack {
    /// Reads the stack's outputs from CloudFormation (API reference, `DescribeStacks`). Empty outputs count
    /// as absent.
    ///
    /// # Errors
    /// When CloudFormation does not answer or has no such stack, or when the stack has no output
    /// `StateTable`.
    pub async fn find(config: &aws_config::SdkConfig, name: &str) -> Result<Self, PortError> {
        let answer = Client::new(config).describe_stacks().stack_name(name).send().await;
        let answer =
            answer.map_err(|error| failed(&format!("CloudFormation DescribeStacks {name}"), error))?;
        let outputs =
            answer.stacks.unwrap_or_default().into_iter().flat_map(|stack| stack.outputs.unwrap_or_default());
        let outputs: BTreeMap<String, String> = outputs
            .filter_map(|output| Some((output.output_key?, output.output_value?)))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let stack = Self { name: name.to_owned(), outputs };
        stack.output("StateTable")?;
        Ok(stack)
    }

    /// The value of an output that every stack of Syncline has.
    ///
    /// # Errors
    /// When this stack has no such output, or an empty one.
    pub fn output(&self, name: &str) -> Result<&str, PortError> {
        self.optional(name).ok_or_else(|| PortError::Store {
            message: format!(
                "stack {} has no output {name}; name a stack that was deployed from Syncline's template.yaml",
                self.name
            ),
        })
    }

    /// The value of an output that only some stacks have, depending on their parameters; `None` where it is
    /// absent or empty.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<&str> {
        self.outputs.get(name).map(String::as_str)
    }
}
