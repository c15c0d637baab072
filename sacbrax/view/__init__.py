"""What a person looks at: episodes, curves, pictures, pages. Reads runs and policy files; trains nothing."""
