"""What people and programs see of the store, as JSON values: for the command line and the page alike."""
