"""How GitHub shows things: state in, JSON out. One file a family; nothing here changes anything."""
