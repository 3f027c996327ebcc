import pytest

from benchmarks.prompts import Prompts


@pytest.mark.parametrize("words", [1, 7, 60, 330])
def test_a_text_has_exactly_as_many_words_as_asked(words: int) -> None:
    assert len(Prompts("size", words).text(words).split()) == words


def test_equal_places_give_equal_texts_one_after_the_other() -> None:
    one, other = Prompts("persona", 8, 0), Prompts("persona", 8, 0)

    assert [one.persona(), one.text(12), one.text(12)] == [other.persona(), other.text(12), other.text(12)]


def test_other_rounds_and_later_requests_share_no_beginning() -> None:
    prompts = Prompts("throughput", 8, 0)
    beginnings = {" ".join(text.split()[:3]) for text in (prompts.text(60) for _ in range(50))}
    beginnings |= {" ".join(Prompts("throughput", 8, number).text(60).split()[:3]) for number in range(1, 51)}

    assert len(beginnings) == 100


def test_a_persona_describes_itself_and_its_tools_in_about_400_words() -> None:
    persona = Prompts("persona").persona()

    assert persona.startswith("You are ")
    assert persona.count("\n- ") == 6
    assert 400 <= len(persona.split()) <= 450
