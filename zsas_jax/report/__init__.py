"""What people look at: pictures, tables and files of scores."""
