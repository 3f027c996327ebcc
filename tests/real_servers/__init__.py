"""The servers that others write; `make try-servers` installs them and runs these tests."""
