//! A deployed stack, found by its name.

use crate::table::failed;
use aws_sdk_cloudformation::Client;
use std::collections::BTreeMap;
use syncline_sync::PortError;

/// What a stack says of itself: the outputs of `template.yaml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Its name.
    pub name: String,
    outputs: BTreeMap<String, String>,
}

impl Stack {
    /// Asks CloudFormation.
    ///
    /// # Errors
    /// When there is no such stack, or it is none of ours.
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

    /// An output that every stack has.
    ///
    /// # Errors
    /// When this one has not.
    pub fn output(&self, name: &str) -> Result<&str, PortError> {
        self.optional(name).ok_or_else(|| PortError::Store {
            message: format!(
                "stack {} has no output {name}; was it deployed from Syncline's template.yaml?",
                self.name
            ),
        })
    }

    /// An output that depends on parameters.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<&str> {
        self.outputs.get(name).map(String::as_str)
    }
}
