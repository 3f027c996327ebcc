"""`python -m facade` serves the OpenAI API."""

from facade.app import main

if __name__ == "__main__":
    main()
