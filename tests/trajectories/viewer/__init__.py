"""The page: its data, its server, its one file, and what a browser makes of them."""
