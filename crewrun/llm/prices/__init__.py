"""What calls cost: litellm's price table, read as data, and the rates of one model in it."""
