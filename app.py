"""The app's router: pages, page configuration and the sidebar's run picker. `streamlit run app.py`"""

from pathlib import Path

import streamlit as st

from ui import login, state

# Own files: streamlit would fetch a Material icon for the tab from the network.
ICON, LOGO, STYLE = (Path(__file__).parent / "ui" / name for name in ("icon.svg", "logo.svg", "page.css"))

st.set_page_config(page_title="Backdoor Lens", page_icon=ICON, layout="wide", initial_sidebar_state=264)
st.logo(LOGO, size="large", icon_image=ICON)
st.html(STYLE)

# Before the pages: without navigation Streamlit would show its own list of them.
inside = login.gate()
page = st.navigation(
    {
        "": [st.Page("pages/home.py", title="Home", icon=":material/home:", default=True)],
        "Set up": [
            st.Page("pages/data.py", title="Data", icon=":material/photo_library:"),
            st.Page("pages/lab.py", title="Poison lab", icon=":material/science:"),
            st.Page("pages/scan.py", title="Scan", icon=":material/radar:"),
        ],
        "Evidence": [
            st.Page("pages/scores.py", title="Scores", icon=":material/bar_chart:"),
            st.Page("pages/mask.py", title="Mask", icon=":material/filter_center_focus:"),
            st.Page("pages/inspect.py", title="Inspect", icon=":material/search:"),
        ],
        "Decide": [
            st.Page("pages/review.py", title="Review", icon=":material/fact_check:"),
            st.Page("pages/clean.py", title="Clean & retrain", icon=":material/cleaning_services:"),
        ],
        "Research": [st.Page("pages/compare.py", title="Compare", icon=":material/compare_arrows:")],
        "Learn": [
            st.Page("pages/learn.py", title="Learn", icon=":material/school:"),
            st.Page("pages/teach.py", title="Teach", icon=":material/co_present:"),
        ],
    },
    position="sidebar" if inside else "hidden",
)
if inside:  # what a tab, a bookmark and the browser's history are called
    st.set_page_config(page_title=f"{page.title} · Backdoor Lens")
state.follow_link()
if inside:
    state.run_picker()
    login.account()
    page.run()
