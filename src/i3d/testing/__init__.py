"""How clips become scores: `scorer` (views -> scores), `kept` (what is done already), `ranks` (several processes)."""
