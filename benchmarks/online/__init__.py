"""The bench of streams that several online learners learn, each row predicted before learning."""
