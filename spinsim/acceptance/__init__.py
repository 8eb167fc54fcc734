"""How many proposed tokens the target would accept: a fixed field, modelled or recorded."""
