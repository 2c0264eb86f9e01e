"""The reader: values, colours, calibration, volumes, folders, broken and hostile files."""
