"""Train again without the suspects, measure what that did, suggest labels for them, and scan what is kept."""
