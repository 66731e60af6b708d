"""What calls cost: litellm's price table, read as data, and the rates of each model in it."""
